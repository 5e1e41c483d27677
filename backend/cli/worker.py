"""`diffsegmenter worker`: does the jobs of `preannotate`."""

from typing import Annotated

import typer

from backend.batch import require, run_worker
from backend.cli.refusals import exit_on_refusal
from backend.engine import build_engine, configure_logging
from backend.settings import Settings


def command(
    burst: Annotated[
        bool, typer.Option("--burst", help="End when the queue is empty.")
    ] = False,
) -> None:
    """Do the jobs of `preannotate`. Start one per GPU, on any number of machines.

    Reads the same environment variables as `serve`; REDIS_URL, LABEL_STUDIO_URL and
    LABEL_STUDIO_API_KEY must be set. SIGTERM or Ctrl-C ends it after the images at
    hand; what it had not begun goes back into the queue.
    """
    with exit_on_refusal():
        settings = Settings.from_env()
        require(settings, "REDIS_URL", "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
        configure_logging(settings.log_level)
        run_worker(settings, build_engine(settings), burst=burst)
