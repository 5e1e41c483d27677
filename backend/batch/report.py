"""What `preannotate` says before and after its work."""

import json
from collections.abc import Mapping
from pathlib import Path

from backend.batch.duplicates import VERSION_PREFIX, deduplicate_project
from backend.batch.listing import RunSpec, find_tasks
from backend.batch.progress_bar import counted, print_failures
from backend.batch.session import ERRORS, OUTPUT, RunOutcome, Session
from backend.batch.shown_version import show_version
from backend.errors import LabelStudioError, SettingsError
from backend.label_studio import ProjectTasks


def print_summary(
    session: Session,
    outcome: RunOutcome,
    failures_file: Path | None,
    *,
    sets_version: bool | None = None,
) -> bool:
    """Look for doubles, tell how it went, and have the project show the predictions.

    Args:
        session: of the command.
        outcome: of the run.
        failures_file: where to write why tasks have no prediction.
        sets_version: whether the project's model version is to be set; None for yes,
            unless the run was for some of its tasks and it shows others.

    Returns:
        Whether nothing is amiss.
    """
    progress = outcome.progress
    version = progress.version or session.version
    if failures_file is not None:
        write_failures(failures_file, outcome.failures)
    if outcome.is_detached:
        return True
    n_duplicates = deduplicate_project(
        _tasks_of(session),
        version,
    )
    n_failed = len(outcome.failures)
    if not progress.total and not progress.is_canceled:
        _say_nothing_to_do(session, version)
        if session.info.n_tasks:
            _show_version(session, outcome, version, sets_version)
        return True
    n_done = progress.done - outcome.done_before
    line = f"{progress.done} of {progress.total} tasks hold a prediction of {version}"
    if n_done and outcome.seconds:
        pace = n_done / outcome.seconds
        line += f" after {outcome.seconds:.0f} s ({pace:.1f}/s)"
    if progress.is_canceled:
        line += "; the run was canceled"
    if progress.gone:
        line += f"; {progress.gone} deleted meanwhile"
    if n_duplicates:
        line += f"; {counted(n_duplicates, 'duplicate')} removed"
    _print(line + ".")
    print_failures(ERRORS, outcome.failures)
    if progress.newer_version:
        _warn(
            f"The project's label config was changed, or its labels taught, in the "
            f"middle of the run, which ended it; run this command again, for "
            f"{progress.newer_version}."
        )
    elif not progress.is_canceled and progress.missing:
        _warn(f"{counted(progress.missing, 'task')} lost; run this command again.")
    if progress.done and not progress.is_canceled and not progress.newer_version:
        _show_version(session, outcome, version, sets_version)
    return not n_failed and not progress.missing


def _show_version(
    session: Session, outcome: RunOutcome, version: str, sets_version: bool | None
) -> None:
    """Have the project show the predictions, or say that it does not."""
    if sets_version is False:
        _say_what_is_shown(session, version)
        return
    project_id = session.tasks.project_id
    whole = {
        RunSpec(project_id=project_id, replaces=replaces).scope
        for replaces in (False, True)
    }
    is_partial = sets_version is None and outcome.scope not in whole
    try:
        said = show_version(_tasks_of(session), version, is_partial=is_partial)
    except LabelStudioError as error:
        said = f"The project's model version is not set to {version}: {error}"
    if said:
        _print(said)


def _tasks_of(session: Session) -> ProjectTasks:
    """The project's, asked as patiently as befits the end of a run."""
    return ProjectTasks(session.client, session.tasks.project_id, retry_for_s=60)


def _say_nothing_to_do(session: Session, version: str) -> None:
    """Say why no task was found."""
    n_tasks = session.info.n_tasks
    _print(
        f"Nothing to do: no task lacks a prediction of {version}."
        if n_tasks
        else f"Project {session.tasks.project_id} has no tasks."
    )


def _warn(line: str) -> None:
    ERRORS.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def _print(line: str) -> None:
    OUTPUT.print(line, markup=False, highlight=False, soft_wrap=True)


def write_failures(file: Path, failures: Mapping[int, str]) -> None:
    """Write a list of tasks and reasons.

    Raises:
        SettingsError: if the file cannot be written.
    """
    rows = [{"task": task, "reason": failures[task]} for task in sorted(failures)]
    text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"--failures {file} cannot be written: {error.strerror}."
        ) from error


def _say_what_is_shown(session: Session, version: str) -> None:
    """Point at the setting without which annotators see nothing of it."""
    shown = session.info.shown_version
    # Another name is a backend's title, or was chosen for a reason.
    is_ours = not shown or shown.startswith(VERSION_PREFIX)
    if shown == version or not is_ours:
        return
    _print(
        "The label stream shows predictions of "
        + (f"{shown!r}" if shown else "no model")
        + f"; choose {version!r}, or the connected backend, under Settings > "
        "Annotation."
    )


def print_plan(session: Session, spec: RunSpec) -> None:
    """Say what would be done; `--dry-run`."""
    pages = list(find_tasks(session.tasks, spec, session.version))
    n_tasks = sum(len(page.task_ids) for page in pages)
    lines = [
        f"Project {spec.project_id} {session.info.title!r} has "
        f"{counted(session.info.n_tasks, 'task')}.",
        f"Model version: {session.version}",
        f"To do: {counted(n_tasks, 'task')}"
        + (
            "."
            if spec.is_for_all and not spec.replaces
            else ", less those that hold a prediction of this version already."
        ),
    ]
    for line in lines:
        _print(line)
