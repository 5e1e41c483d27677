"""`diffsegmenter worker` with a model that sleeps instead of computing.

    SLEEP_S=0.1 python -m tests.sleeping_worker

All else is real: settings, queue, cache, Label Studio. It finds red, green and blue.
"""

import os
import time

from backend.batch import run_worker
from backend.engine import build_engine, configure_logging
from backend.settings import Settings
from tests.fakes import ColourSegmenter


def main() -> None:
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    sleep_s = float(os.environ.get("SLEEP_S", "0.1"))
    segmenter = ColourSegmenter(before=lambda pixels: time.sleep(sleep_s))
    run_worker(settings, build_engine(settings, load=lambda: segmenter))


if __name__ == "__main__":
    main()
