"""`diffsegmenter serve` with a model that sleeps instead of computing.

SLEEP_S=1 LOAD_S=0 python -m tests.sleeping_server
"""

import os
import time
from typing import Any

from backend.cli.serve import Server
from backend.engine import configure_logging
from backend.server import build_app
from backend.settings import Settings
from tests.fakes import ColourSegmenter


class _SleepingServer(Server):
    def load(self) -> Any:
        sleep_s = float(os.environ.get("SLEEP_S", "1"))
        load_s = float(os.environ.get("LOAD_S", "0"))

        def load() -> ColourSegmenter:
            time.sleep(load_s)
            return ColourSegmenter(before=lambda pixels: time.sleep(sleep_s))

        return build_app(self._settings, load=load)


def main() -> None:
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    _SleepingServer(settings).run()


if __name__ == "__main__":
    main()
