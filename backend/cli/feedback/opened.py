"""What every command of `feedback` has at hand."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.console import Console

from backend.cli.refusals import exit_on_refusal
from backend.engine import configure_logging, settings_feedback
from backend.feedback import FeedbackStore
from backend.settings import Settings

OUTPUT = Console()
ERRORS = Console(stderr=True)

ProjectOption = Annotated[
    int, typer.Option("--project", min=1, help="Number of the project.")
]


def say(line: str, console: Console = OUTPUT, style: str | None = None) -> None:
    """Print a line as it is, and let the terminal break it."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def opened_store() -> Iterator[FeedbackStore]:
    """The store of the environment's settings; a refusal ends the command."""
    configure_logging("ERROR")
    with (
        exit_on_refusal(),
        closing(settings_feedback(Settings.from_env())) as store,
    ):
        yield store
