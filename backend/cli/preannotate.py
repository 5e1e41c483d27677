"""`diffsegmenter preannotate`: every task of a project gets its prediction.

Reads the same environment variables as `serve`; with other ones it would make other
predictions.
"""

import logging
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from backend.batch import (
    ERRORS,
    ChunkRunner,
    LocalRun,
    ProgressBar,
    QueuedRun,
    RunOutcome,
    RunRecords,
    RunSpec,
    RunWatcher,
    Session,
    connect,
    print_plan,
    print_summary,
    queue_of,
    write_failures,
)
from backend.cli.refusals import exit_on_refusal
from backend.errors import LabelStudioRefusal, SettingsError
from backend.signals import shutdown_on_signals

logger = logging.getLogger(__name__)

_INTERRUPTED: Final = 130

ProjectOption = Annotated[
    int, typer.Option("--project", "-p", min=1, help="Label Studio's project number.")
]


def command(
    project: ProjectOption,
    tab: Annotated[
        int | None,
        typer.Option(help="Only what this tab of the Data Manager shows (?tab=N)."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Only these tasks: ids with commas between."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many tasks.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Remove a task's predictions of earlier versions of this backend "
            "once the new one is stored.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Only watch the running pre-annotation.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel the running pre-annotation.")
    ] = False,
    here: Annotated[
        bool,
        typer.Option("--here", help="Do it in this process, not by workers."),
    ] = False,
    set_version: Annotated[
        bool | None,
        typer.Option(
            "--set-version/--no-set-version",
            help="Have the project's label stream show these predictions, and its Data "
            "Manager sort by their score; default is yes, but for --tab, --tasks and "
            "--limit where it shows others.",
        ),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(help="Write tasks without prediction and reasons here, as JSON."),
    ] = None,
) -> None:
    """Give every task of a project its prediction, and show how far it is.

    Tasks that hold one of this model version are passed over, so that it can be
    stopped and called again at any time. With REDIS_URL, workers (`diffsegmenter
    worker`) do the work and Ctrl-C ends the watching only; without, this process does
    it. Exit status: 0 all tasks have one, 1 some have none, 2 it cannot begin, 130 it
    was interrupted, or left to the workers.
    """
    with exit_on_refusal():
        session = Session.open(project)
        if tab is not None and tasks is not None:
            raise SettingsError("--tab and --tasks cannot be given together.")
        if tab is not None:
            _check_tab(session, tab)
        spec = RunSpec(
            project_id=project,
            view_id=tab,
            task_ids=_ids(tasks),
            limit=limit,
            replaces=replace,
        )
        if dry_run:
            print_plan(session, spec)
            return
        is_queued = session.settings.redis_url is not None and not here
        if (watch or cancel) and not is_queued:
            raise SettingsError(
                "--watch and --cancel are for runs of workers: set REDIS_URL to the "
                "Redis of the workers, and leave --here out."
            )
        if failures is not None:
            write_failures(failures, {})  # rather than fail at it after hours
        outcome = (
            _by_workers(session, spec, watch=watch, cancel=cancel)
            if is_queued
            else _here(session, spec)
        )
        is_fine = print_summary(session, outcome, failures, sets_version=set_version)
        if outcome.is_detached:
            raise typer.Exit(_INTERRUPTED)
        if not is_fine:
            raise typer.Exit(1)


def _here(session: Session, spec: RunSpec) -> RunOutcome:
    """Do it in this process."""
    started = time.monotonic()
    _say_model_loads(session)
    session.engine.segmenter.get()
    with (
        shutdown_on_signals(session.stop, say=ERRORS.print, at_once=_interrupt),
        ProgressBar(ERRORS) as bar,
    ):
        run = LocalRun(
            work=ChunkRunner(
                predictor=session.engine.predictor,
                client=session.client,
                stop=session.stop,
            ),
            tasks=session.tasks,
            spec=spec,
            version=session.version,
            show=bar.show,
        )
        run.run()
    if session.stop.is_set():
        ERRORS.print("Stopped. Run the same command to continue.")
    return RunOutcome(
        progress=run.progress,
        failures=run.failures,
        seconds=time.monotonic() - started,
        is_detached=session.stop.is_set(),
        scope=spec.scope,
    )


def _by_workers(
    session: Session, spec: RunSpec, *, watch: bool, cancel: bool
) -> RunOutcome:
    """Have it done, and watch."""
    with closing(connect(session.settings)) as connection:
        run = QueuedRun(
            queue=queue_of(session.engine, connection),
            records=RunRecords(connection),
            tasks=session.tasks,
            spec=spec,
            version=session.version,
        )
        if watch or cancel:
            run_id = run.records.current(spec.project_id)
            progress = run.records.progress(run_id) if run_id else None
            if run_id is None or progress is None:
                raise SettingsError(
                    f"No run of project {spec.project_id} is known in this Redis; "
                    f"leave --watch and --cancel out to begin one."
                )
            if cancel and progress.is_over:
                raise SettingsError(
                    f"The last run of project {spec.project_id} is over; there is "
                    f"nothing to cancel."
                )
            if cancel:
                run.cancel(run_id)
        else:
            run_id = run.begin()
        return RunWatcher(session, run, lists=not (watch or cancel)).watch(run_id)


def _ids(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise SettingsError(
            f"--tasks {text[:60]!r} cannot be read; write task ids with commas "
            f"between, such as --tasks 17,18,19."
        )
    return found


def _check_tab(session: Session, tab: int) -> None:
    """Ask for the tab before the model is loaded.

    Raises:
        SettingsError: if there is none.
    """
    try:
        next(session.tasks.tasks_in_tab(tab), None)
    except LabelStudioRefusal as refusal:
        raise SettingsError(
            f"--tab {tab}: the project shows no such tab ({refusal}) The number is in "
            f"the Data Manager's address, as in ?tab=5."
        ) from refusal


def _say_model_loads(session: Session) -> None:
    ERRORS.print(
        f"Loading {session.settings.model}; predictions will be {session.version}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt
