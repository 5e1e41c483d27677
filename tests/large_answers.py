"""The application with an answer that fills every buffer between it and a reader.

gunicorn tests.large_answers:app --worker-class backend.server.worker.PatientWorker
"""

from backend.server import build_app
from backend.settings import Settings
from tests.fakes import ColourSegmenter

app = build_app(
    Settings.from_env({"REQUEST_TIMEOUT_S": "1"}), preload=False, load=ColourSegmenter
)


@app.get("/large")
def large() -> bytes:
    return b"x" * 50_000_000
