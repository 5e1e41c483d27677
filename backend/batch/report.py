"""What `preannotate` says before and after its work."""

import json
from collections.abc import Mapping
from pathlib import Path

from backend.batch.duplicates import VERSION_PREFIX, deduplicate_project
from backend.batch.progress_bar import print_failures
from backend.batch.runs import RunSpec, find_tasks
from backend.batch.session import ERRORS, OUTPUT, RunOutcome, Session
from backend.errors import SettingsError
from backend.label_studio import ProjectTasks


def print_summary(
    session: Session, outcome: RunOutcome, failures_file: Path | None
) -> bool:
    """Look for doubles, tell how it went; returns whether nothing is amiss."""
    progress = outcome.progress
    if failures_file is not None:
        write_failures(failures_file, outcome.failures)
    if outcome.is_detached:
        return True
    n_duplicates = deduplicate_project(
        ProjectTasks(session.client, session.tasks.project_id, retry_for_s=60),
        session.version,
    )
    n_failed = len(outcome.failures)
    if not progress.total and not progress.is_canceled:
        _say_nothing_to_do(session)
        return True
    n_done = progress.done - outcome.done_before
    line = (
        f"{progress.done} of {progress.total} tasks hold a prediction of "
        f"{session.version}"
    )
    if n_done and outcome.seconds:
        pace = n_done / outcome.seconds
        line += f" after {outcome.seconds:.0f} s ({pace:.1f}/s)"
    if progress.is_canceled:
        line += "; the run was canceled"
    if n_duplicates:
        line += f"; {n_duplicates} duplicates removed"
    _print(line + ".")
    print_failures(ERRORS, outcome.failures)
    if not progress.is_canceled and progress.missing:
        ERRORS.print(
            f"{progress.missing} tasks were lost; run this command again.",
            style="red",
        )
    if progress.done:
        _say_what_is_shown(session)
    return not n_failed and not progress.missing


def _say_nothing_to_do(session: Session) -> None:
    """Say why no task was found."""
    n_tasks = session.info.n_tasks
    _print(
        f"Nothing to do: no task lacks a prediction of {session.version}."
        if n_tasks
        else f"Project {session.tasks.project_id} has no tasks."
    )


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


def _say_what_is_shown(session: Session) -> None:
    """Point at the setting without which annotators see nothing of it."""
    shown = session.info.shown_version
    # Another name is a backend's title, or was chosen for a reason.
    is_ours = not shown or shown.startswith(VERSION_PREFIX)
    if shown == session.version or not is_ours:
        return
    _print(
        "The label stream shows predictions of "
        + (f"{shown!r}" if shown else "no model")
        + f"; choose {session.version!r}, or the connected backend, under Settings > "
        "Annotation."
    )


def print_plan(session: Session, spec: RunSpec) -> None:
    """Say what would be done; `--dry-run`."""
    pages = list(find_tasks(session.tasks, spec, session.version))
    n_tasks = sum(len(page.task_ids) for page in pages)
    lines = [
        f"Project {spec.project_id} {session.info.title!r} has "
        f"{session.info.n_tasks} tasks.",
        f"Model version: {session.version}",
        f"To do: {n_tasks} tasks"
        + (
            "."
            if spec.is_for_all and not spec.replaces
            else ", less those that hold a prediction of this version already."
        ),
    ]
    for line in lines:
        _print(line)
