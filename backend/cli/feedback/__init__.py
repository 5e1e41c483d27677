"""`diffsegmenter feedback`: what projects learn from corrections."""

import typer

from backend.cli.feedback.changes import freeze, reset
from backend.cli.feedback.imports import import_
from backend.cli.feedback.reports import export, show

command = typer.Typer(
    help="What projects learn from corrections.", no_args_is_help=True
)
for function in (show, freeze, reset, export):
    command.command()(function)
command.command(name="import")(import_)
