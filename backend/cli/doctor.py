"""`diffsegmenter doctor`: the findings of `backend.doctor`, printed."""

from typing import Annotated

import typer
from rich.console import Console

from backend.doctor import Finding, examine, print_findings, print_json, problem
from backend.engine import configure_logging
from backend.errors import SettingsError
from backend.settings import Settings

_output = Console()


def command(
    project: Annotated[
        int | None, typer.Option(help="A project of Label Studio to try.")
    ] = None,
    task: Annotated[
        int | None, typer.Option(help="Its task to try; else the first.")
    ] = None,
    load: Annotated[
        bool,
        typer.Option(
            "--load", help="Load the model even if the backend that runs has it."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for scripts.")
    ] = False,
) -> None:
    """Find out what keeps Label Studio and this backend from working together.

    Reads the same environment variables as `serve`, asks the backend that runs with
    them or else loads the model, changes nothing anywhere, and says what to do. Exit
    status: 0 no problem, 1 a problem, 2 unreadable settings.
    """
    print_all = print_json if as_json else print_findings
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        mistakes = str(error).splitlines()[1:]
        print_all([_unreadable(mistakes)], _output)
        raise typer.Exit(2) from error
    # Warnings of libraries say nothing that a finding would not.
    configure_logging("ERROR")
    findings = examine(settings, project_id=project, task_id=task, loads=load)
    if not print_all(findings, _output):
        raise typer.Exit(1)


def _unreadable(mistakes: list[str]) -> Finding:
    return problem(
        "settings",
        "the backend cannot start with these environment variables",
        "Correct them:",
        *(mistake.strip() for mistake in mistakes),
    )
