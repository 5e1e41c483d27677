"""gunicorn's configuration for the container: what `diffsegmenter serve` uses.

gunicorn -c docker/gunicorn.conf.py
"""

from backend.server import server_options
from backend.settings import Settings

wsgi_app = "backend.cli.serve:app_from_environment()"
globals().update(server_options(Settings.from_env()))
