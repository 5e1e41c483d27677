"""`feedback freeze` and `feedback reset`: whether labels learn on, and forgetting."""

from typing import Annotated

import typer

from backend.cli.feedback.opened import ProjectOption, opened_store, say


def freeze(
    project: ProjectOption,
    off: Annotated[bool, typer.Option("--off", help="Let it learn again.")] = False,
) -> None:
    """Let what a project's labels have learned stay as it is.

    Corrections are still kept, and learned from when it learns again.
    """
    with opened_store() as store:
        store.freeze(str(project), not off)
        state = "learns again" if off else "is frozen: nothing more is learned"
        say(f"Project {project} {state}.")


def reset(
    project: ProjectOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a project's corrections, and what was learned of them.

    Annotations in Label Studio are not touched; `feedback import` learns from them
    again.
    """
    with opened_store() as store:
        n_corrections = store.n_corrections(str(project))
        if not yes:
            typer.confirm(
                f"{store.describe()}: forget {n_corrections} corrected tasks of "
                f"project {project}, and all that was learned of them?",
                abort=True,
            )
        store.reset(str(project))
        say(f"Forgot {n_corrections} corrected tasks of project {project}.")
