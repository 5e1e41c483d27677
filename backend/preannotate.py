"""The commands `diffsegmenter preannotate` and `diffsegmenter worker`.

They read the same environment variables as `serve`; with other ones they would make
other predictions.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Annotated, Any, Final

import redis
import typer
from rich.console import Console
from rich.logging import RichHandler

from backend.batch_run import LocalRun, QueuedRun, Wish, find_tasks, remove_doubles
from backend.errors import BackendError, LabelStudioError, SettingsError
from backend.job_queue import JobQueue, queue_connection
from backend.label_config import read_label_config
from backend.label_studio_client import LabelStudioClient
from backend.preannotation import PreAnnotation
from backend.progress_bar import ProgressBar, print_failures
from backend.project_tasks import ProjectFacts, ProjectTasks
from backend.run_records import Progress, RunRecords
from backend.settings import Settings
from backend.work import Desk, work_until_stopped
from backend.wsgi import Engine, build_engine, configure_logging
from segmenter import SegmenterError

logger = logging.getLogger(__name__)
_output = Console()
_errors = Console(stderr=True)

_REDIS_PAUSE_S: Final = 2.0
# A run whose records are lost is begun anew so often in a row without any progress.
_MOST_RESTARTS: Final = 5

ProjectOption = Annotated[
    int, typer.Option("--project", "-p", min=1, help="Label Studio's project number.")
]


def preannotate(
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
        bool, typer.Option("--watch", help="Only watch the run that goes on.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Call off the run that goes on.")
    ] = False,
    here: Annotated[
        bool,
        typer.Option("--here", help="Do it in this process, not by workers."),
    ] = False,
    failures: Annotated[
        Path | None,
        typer.Option(help="Write tasks without prediction and reasons here, as JSON."),
    ] = None,
) -> None:
    """Give every task of a project its prediction, and show how far it is.

    Tasks that hold one of this model version are passed over, so that it can be
    stopped and called again at any time. With REDIS_URL, workers (`diffsegmenter
    worker`) do the work and Ctrl-C ends the watching only; without, this process does
    it. Exit status: 0 all tasks have one, 1 some have none, 2 it cannot begin.
    """
    with _explained(), _Session.opened(project) as session:
        wish = Wish(
            project_id=project,
            view_id=tab,
            task_ids=_ids(tasks),
            limit=limit,
            replaces=replace,
        )
        if dry_run:
            _tell_plan(session, wish)
            return
        is_queued = session.settings.redis_url is not None and not here
        if (watch or cancel) and not is_queued:
            raise SettingsError(
                "--watch and --cancel are for runs of workers: set REDIS_URL to the "
                "Redis of the workers, and leave --here out."
            )
        if failures is not None:
            _write_failures(failures, {})  # rather than fail at it after hours
        outcome = (
            _by_workers(session, wish, watch=watch, cancel=cancel)
            if is_queued
            else _here(session, wish)
        )
        if not _conclude(session, outcome, failures):
            raise typer.Exit(1)


def worker(
    burst: Annotated[
        bool, typer.Option("--burst", help="End when the queue is empty.")
    ] = False,
) -> None:
    """Do the jobs of `preannotate`. Start one per GPU, on any number of machines.

    Reads the same environment variables as `serve`; REDIS_URL, LABEL_STUDIO_URL and
    LABEL_STUDIO_API_KEY must be set. SIGTERM or Ctrl-C ends it after the images at
    hand; what it had not begun goes back into the queue.
    """
    with _explained():
        settings = Settings.from_env()
        _require(settings, "REDIS_URL", "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
        configure_logging(settings.log_level)
        run_worker(settings, build_engine(settings), burst=burst)


def run_worker(settings: Settings, engine: Engine, *, burst: bool = False) -> None:
    """Do the queue's jobs with this engine until stopped.

    Raises:
        WeightsNotFound: if the model cannot be loaded.
    """
    with (
        closing(LabelStudioClient(settings.label_studio)) as client,
        closing(_connect(settings)) as connection,
    ):
        # Now, and not with the first job in hand: without a model there is no use
        # in taking any.
        engine.segmenter.get()
        desk = Desk(
            work=PreAnnotation(annotator=engine.annotator, client=client),
            queue=_queue_of(engine, connection),
            records=RunRecords(connection),
        )
        logger.info("Ready for jobs of %s.", desk.queue.name)
        work_until_stopped(desk, burst=burst)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Session:
    """What one call of the command has at hand."""

    settings: Settings
    engine: Engine
    client: LabelStudioClient
    tasks: ProjectTasks
    facts: ProjectFacts
    version: str
    stop: threading.Event

    @classmethod
    @contextmanager
    def opened(cls, project_id: int) -> "Iterator[_Session]":
        """Read the settings and the project.

        Raises:
            SettingsError, BadLabelConfig, LabelStudioError, SegmenterError: why it
                cannot begin.
        """
        settings = Settings.from_env()
        _require(settings, "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
        _log_beside_the_bar()
        engine = build_engine(settings)
        stop = threading.Event()
        with closing(LabelStudioClient(settings.label_studio)) as client:
            tasks = ProjectTasks(client, project_id, patience_s=180, stop=stop)
            # A Label Studio that is not there at the start is a mistake, mostly.
            facts = ProjectTasks(client, project_id, patience_s=0).facts()
            config = read_label_config(facts.label_config, engine.annotator.defaults)
            yield cls(
                settings=settings,
                engine=engine,
                client=client,
                tasks=tasks,
                facts=facts,
                version=engine.annotator.version_of(config.fingerprint),
                stop=stop,
            )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How a run ended, or was left."""

    progress: Progress
    failures: Mapping[int, str]
    seconds: float
    is_left: bool = False


def _here(session: _Session, wish: Wish) -> _Outcome:
    """Do it in this process."""
    started = time.monotonic()
    _say_model_loads(session)
    session.engine.segmenter.get()
    with _stopping(session.stop), ProgressBar(_errors) as bar:
        run = LocalRun(
            work=PreAnnotation(
                annotator=session.engine.annotator,
                client=session.client,
                stop=session.stop,
            ),
            tasks=session.tasks,
            wish=wish,
            version=session.version,
            show=bar.show,
        )
        run.run()
    if session.stop.is_set():
        _errors.print("Stopped. The same command goes on from here.")
    return _Outcome(
        progress=run.progress,
        failures=run.failures,
        seconds=time.monotonic() - started,
        is_left=session.stop.is_set(),
    )


def _by_workers(
    session: _Session, wish: Wish, *, watch: bool, cancel: bool
) -> _Outcome:
    """Have it done, and watch."""
    with closing(_connect(session.settings)) as connection:
        run = QueuedRun(
            queue=_queue_of(session.engine, connection),
            records=RunRecords(connection),
            tasks=session.tasks,
            wish=wish,
            version=session.version,
        )
        if watch or cancel:
            run_id = run.records.current(wish.project_id)
            progress = run.records.progress(run_id) if run_id else None
            if run_id is None or progress is None:
                raise SettingsError(
                    f"No run of project {wish.project_id} is known in this Redis; "
                    f"leave --watch and --cancel out to begin one."
                )
            if cancel:
                run.cancel(run_id)
        else:
            run_id = run.begin()
        return _Watching(session, run, lists=not (watch or cancel)).watch(run_id)


class _Watching:
    """Watches a run of workers, through outages of Redis, and lists its tasks."""

    def __init__(self, session: _Session, run: QueuedRun, *, lists: bool) -> None:
        self._session = session
        self._run = run
        self._lists = lists
        self._to_list: Queue[str] = Queue()
        self._broken: Exception | None = None
        self._started = time.monotonic()
        # Of runs before this one whose records were lost.
        self._total_before = self._done_before = 0
        self._restarts = 0
        self._noted_s, self._note = 0.0, ""
        self._progress = Progress(version=session.version)

    def watch(self, run_id: str) -> _Outcome:
        """Watch until the run is over, or somebody has seen enough."""
        is_left = False
        if self._lists:
            threading.Thread(target=self._list_tasks, daemon=True).start()
            self._to_list.put(run_id)
        with ProgressBar(_errors) as bar:
            try:
                while True:
                    try:
                        self._follow(run_id, bar)
                        next_id = self._next_run(run_id)
                        if next_id is None:
                            break
                        run_id = next_id
                    except redis.RedisError as error:
                        bar.show(self._progress, f"no Redis ({type(error).__name__})")
                        time.sleep(_REDIS_PAUSE_S)
            except KeyboardInterrupt:
                is_left = True
            finally:
                self._session.stop.set()
        if self._broken is not None:
            raise self._broken
        if is_left:
            self._say_left()
        return _Outcome(
            progress=self._progress,
            failures=self._run.records.failures(run_id),
            seconds=time.monotonic() - self._started,
            is_left=is_left,
        )

    def _follow(self, run_id: str, bar: ProgressBar) -> None:
        """Show the run until it is over, or its records are gone."""
        for seen in self._run.watch(run_id):
            if seen is None:
                return
            done_before = self._done_before
            if seen.is_listed:  # what is not listed again was done, if untold
                done_before = max(done_before, self._total_before - seen.total)
            self._progress = replace(
                seen, done=seen.done + done_before, total=seen.total + done_before
            )
            bar.show(self._progress, self._what_else())
            if self._broken is not None:
                return

    def _next_run(self, run_id: str) -> str | None:
        """The run to watch next; None when all is done.

        Another than the present one where Redis has lost something: Label Studio
        says what is left.
        """
        progress = self._progress
        if self._broken is not None or progress.is_canceled:
            return None
        is_known = self._run.records.progress(run_id) is not None
        if is_known and not progress.missing:
            return None
        if not self._lists:
            raise SettingsError(
                f"Redis has lost {progress.missing or 'all'} tasks of this run; leave "
                f"--watch out to go on with what is left."
            )
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            return None
        self._total_before, self._done_before = progress.total, progress.done
        logger.warning("Redis has lost tasks of this run; listing what is left.")
        next_id = self._run.records.begin(
            self._run.wish.project_id, self._run.version, self._run.wish.scope
        )
        self._to_list.put(next_id)
        return next_id

    def _list_tasks(self) -> None:
        """List the tasks of the runs, while workers begin with them."""
        while True:
            run_id = self._to_list.get()
            # A newer run is for all that this one has not listed.
            while self._to_list.empty() and not self._session.stop.is_set():
                try:
                    self._run.list_tasks(run_id, self._session.stop)
                    break
                except (redis.ConnectionError, redis.TimeoutError):
                    self._session.stop.wait(_REDIS_PAUSE_S)
                except (LabelStudioError, redis.RedisError) as error:
                    self._broken = error
                    return

    def _what_else(self) -> str:
        """A note where nothing can happen, asked for every few seconds."""
        now = time.monotonic()
        if now - self._noted_s > 3:
            self._noted_s = now
            n_workers = self._run.queue.n_workers()
            self._note = f"{n_workers} worker{'s' if n_workers != 1 else ''}"
            if not n_workers and self._progress.open_jobs:
                self._note = "no worker: start `diffsegmenter worker`"
                if others := sorted(self._run.queue.other_workers()):
                    self._note += (
                        f" with these settings (there are some for {', '.join(others)})"
                    )
        return self._note

    def _say_left(self) -> None:
        command = f"diffsegmenter preannotate --project {self._run.wish.project_id}"
        _errors.print(
            f"The workers go on. Watch again: {command} --watch; call it off: "
            f"{command} --cancel",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if not self._progress.is_listed:
            _errors.print(
                f"Not all tasks are listed yet; to have the others done too: {command}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def _conclude(session: _Session, outcome: _Outcome, failures_file: Path | None) -> bool:
    """Look for doubles, tell how it went; returns whether nothing is amiss."""
    progress = outcome.progress
    if failures_file is not None:
        _write_failures(failures_file, outcome.failures)
    if outcome.is_left:
        return True
    n_doubles = remove_doubles(
        ProjectTasks(session.client, session.tasks.project_id, patience_s=60),
        session.version,
    )
    n_failed = len(outcome.failures)
    pace = progress.done / outcome.seconds if outcome.seconds else 0
    line = (
        f"{progress.done} of {progress.total} tasks hold a prediction of "
        f"{session.version} after {outcome.seconds:.0f} s ({pace:.1f}/s)"
    )
    if progress.is_canceled:
        line += "; the run was called off"
    if n_doubles:
        line += f"; {n_doubles} doubles removed"
    _output.print(line + ".", markup=False, highlight=False, soft_wrap=True)
    print_failures(_errors, outcome.failures)
    if not progress.is_canceled and progress.missing:
        _errors.print(
            f"{progress.missing} tasks were lost on the way; call this again.",
            style="red",
        )
    _say_what_is_shown(session)
    return not n_failed and not progress.missing


def _write_failures(file: Path, failures: Mapping[int, str]) -> None:
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


def _say_what_is_shown(session: _Session) -> None:
    """Point at the setting without which annotators see nothing of it."""
    shown = session.facts.shown_version
    if shown == session.version:
        return
    _output.print(
        "The label stream shows predictions of "
        + (f"{shown!r}" if shown else "no model")
        + f"; choose {session.version!r}, or the connected backend, under Settings > "
        "Annotation.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _tell_plan(session: _Session, wish: Wish) -> None:
    pages = list(find_tasks(session.tasks, wish, session.version))
    n_tasks = sum(len(page.task_ids) for page in pages)
    lines = [
        f"Project {wish.project_id} {session.facts.title!r} has "
        f"{session.facts.n_tasks} tasks.",
        f"Model version: {session.version}",
        f"To do: {n_tasks} tasks"
        + (
            "."
            if wish.is_for_all and not wish.replaces
            else ", less those that hold a prediction of this version already."
        ),
    ]
    for line in lines:
        _output.print(line, markup=False, highlight=False, soft_wrap=True)


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


def _require(settings: Settings, *names: str) -> None:
    """Refuse to go on without these variables.

    Raises:
        SettingsError: naming all that are missing.
    """
    values = {
        "REDIS_URL": settings.redis_url,
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key,
    }
    missing = [name for name in names if values[name] is None]
    if missing:
        raise SettingsError(
            f"Set {', '.join(missing)}: predictions are stored through Label Studio's "
            f"API"
            + (", and jobs come through Redis." if "REDIS_URL" in missing else ".")
        )


def _connect(settings: Settings) -> redis.Redis:
    assert settings.redis_url is not None
    return queue_connection(settings.redis_url.get_secret_value())


def _queue_of(engine: Engine, connection: redis.Redis) -> JobQueue:
    """The queue of all who would make the same predictions."""
    return JobQueue(connection, engine.annotator.version_of(""))


def _say_model_loads(session: _Session) -> None:
    _errors.print(
        f"Loading {session.settings.model}; predictions will be {session.version}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C end the work in good order, and the second at once."""

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        _errors.print("Stopping after the images at hand; once more stops at once.")

    before: dict[int, Any] = {
        number: signal.signal(number, on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_beside_the_bar() -> None:
    """Let warnings about waiting pass above the bar; failures are listed at the end."""
    logging.basicConfig(
        level="ERROR",
        format="%(message)s",
        handlers=[RichHandler(console=_errors, show_path=False, show_level=False)],
    )
    for name in ("backend.project_tasks", __name__):
        logging.getLogger(name).setLevel("WARNING")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what is refused into one red paragraph and an exit status."""
    explain: Callable[[Exception], str] = str
    try:
        yield
    except (BackendError, SegmenterError) as error:
        _errors.print(explain(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except redis.RedisError as error:
        _errors.print(
            f"REDIS_URL cannot be used ({type(error).__name__}); `diffsegmenter "
            f"doctor` says why. `--here` does without.",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2) from error
