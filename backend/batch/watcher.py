"""A run of workers, watched from its beginning to its end, through outages of Redis.

Lists the run's tasks as well, in another thread, while workers begin with them.
"""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import replace
from queue import Queue
from typing import Final

import redis

from backend.batch.progress_bar import ProgressBar, counted, next_try
from backend.batch.run_records import Progress
from backend.batch.runs import NEWER, QueuedRun
from backend.batch.session import ERRORS, RunOutcome, Session
from backend.errors import LabelStudioError, SettingsError

logger = logging.getLogger(__name__)

_REDIS_PAUSE_S: Final = 2.0
# A run whose records are lost, or that workers refuse, is begun anew so often in a row
# without any progress.
_MOST_RESTARTS: Final = 5
_NOTE_EVERY_S: Final = 3.0
_LISTER_LOOK_S: Final = 1.0


class RunWatcher:
    """Watches one run; used once."""

    def __init__(self, session: Session, run: QueuedRun, *, lists: bool) -> None:
        """Prepare.

        Args:
            session: of the command.
            run: to watch.
            lists: whether its tasks are still to be listed, by this process.
        """
        self._session = session
        self._run = run
        self._lists = lists
        self._to_list: Queue[tuple[QueuedRun, str]] = Queue()
        self._broken: Exception | None = None
        self._started = time.monotonic()
        # Of runs before this one whose records were lost.
        self._total_before = self._done_before = 0
        self._done_at_first: int | None = None
        self._restarts = 0
        self._noted_s, self._note, self._noted_workers = 0.0, "", 0
        self._progress = Progress(version=session.version)

    def watch(self, run_id: str) -> RunOutcome:
        """Watch until the run is over, or somebody has seen enough."""
        is_detached = False
        if self._lists:
            threading.Thread(target=self._list_tasks, daemon=True).start()
            self._to_list.put((self._run, run_id))
        with ProgressBar(ERRORS) as bar:
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
                is_detached = True
            finally:
                self._session.stop.set()
        if self._broken is not None:
            raise self._broken
        failures: dict[int, str] = {}
        if not is_detached:
            failures = self._run.records.failures(run_id)
        else:
            # Whoever leaves because Redis is away is not to be told so once more.
            with suppress(redis.RedisError):
                failures = self._run.records.failures(run_id)
                self._run.records.end_own_listing(run_id, self._run.token)
            self._print_detached()
        return RunOutcome(
            progress=self._progress,
            failures=failures,
            seconds=time.monotonic() - self._started,
            done_before=self._done_at_first or 0,
            is_detached=is_detached,
            scope=self._progress.scope,
        )

    def _follow(self, run_id: str, bar: ProgressBar) -> None:
        """Show the run until it is over, or its records are gone."""
        for seen in self._run.watch(run_id):
            if seen is None:
                return
            done_before = self._done_before
            if seen.is_listed:  # what is not listed again was done, if untold
                done_before = self._total_before - seen.total
                if not self._run.spec.lists_done:  # new tasks may be among the rest
                    done_before = max(self._done_before, done_before)
                done_before = max(0, done_before)
            if self._done_at_first is None:
                self._done_at_first = seen.done
            if seen.done + done_before > self._progress.done:
                self._restarts = 0
            self._progress = replace(
                seen, done=seen.done + done_before, total=seen.total + done_before
            )
            bar.show(self._progress, self._what_else())
            if self._broken is not None or (seen.newer_version and self._lists):
                return

    def _next_run(self, run_id: str) -> str | None:
        """The run to watch next; None when all is done.

        Another than the present one where Redis has lost something, or the project
        has got another label config: Label Studio says what is left.
        """
        progress = self._progress
        if self._broken is not None or progress.is_canceled:
            return None
        if progress.newer_version:
            return self._next_version(run_id)
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
        logger.warning("Redis has lost tasks of this run; listing the remaining tasks.")
        next_id = self._run.begin(progress)
        self._to_list.put((self._run, next_id))
        return next_id

    def _next_version(self, run_id: str) -> str | None:
        """The run for the label config that the project has now."""
        if not self._lists:
            next_id = self._run.records.current(self._run.spec.project_id)
            if next_id == run_id:
                return None
            self._forget_runs_before(self._progress.newer_version)
            return next_id
        version = self._session.current_version()
        self._restarts += 1
        # Once or twice it may have been changed and changed back.
        if version == self._run.version and self._restarts > _MOST_RESTARTS:
            raise SettingsError(
                f"Workers give {self._progress.newer_version} for this project, and "
                f"this command {version}: give both the environment of `serve`, and "
                f"the same version of this backend."
            )
        logger.warning(NEWER, version)
        self._run.cancel(run_id)
        self._run = replace(self._run, version=version)
        self._forget_runs_before(version)
        next_id = self._run.begin()
        self._to_list.put((self._run, next_id))
        return next_id

    def _forget_runs_before(self, version: str) -> None:
        """Count from nothing: what is done for one version is not for another."""
        self._total_before = self._done_before = 0
        self._done_at_first = None
        self._progress = Progress(version=version)

    def _list_tasks(self) -> None:
        """List the tasks of the runs, while workers begin with them."""
        while True:
            run, run_id = self._to_list.get()
            # A newer run is for all that this one has not listed.
            while self._to_list.empty() and not self._session.stop.is_set():
                try:
                    if run.list_tasks(run_id, self._session.stop):
                        break
                    # Another process lists them, and may be killed at it.
                    self._session.stop.wait(_LISTER_LOOK_S)
                except (redis.ConnectionError, redis.TimeoutError):
                    self._session.stop.wait(_REDIS_PAUSE_S)
                except (LabelStudioError, redis.RedisError) as error:
                    self._broken = error
                    return
                except ValueError:
                    # redis-py's parser, of a connection that the command closes as
                    # it ends while an answer is awaited here.
                    if not self._session.stop.is_set():
                        raise
                    return

    def _what_else(self) -> str:
        """A note where nothing can happen, asked for every few seconds."""
        now = time.monotonic()
        if now - self._noted_s > _NOTE_EVERY_S:
            self._noted_s = now
            n_workers = self._noted_workers = self._run.queue.n_workers()
            self._note = counted(n_workers, "worker")
            if n_scheduled := self._run.queue.n_scheduled():
                self._note += f", {counted(n_scheduled, 'job')} waiting to retry"
                if (due_s := self._run.queue.next_due_s()) is not None:
                    self._note += f", {next_try(due_s)}"
            is_listed_elsewhere = self._progress.lister not in {"", self._run.token}
            if self._lists and is_listed_elsewhere and not self._progress.is_listed:
                self._note += ", another process lists the tasks"
            if not n_workers and self._progress.open_jobs:
                self._note = "no worker: start `diffsegmenter worker`"
                if others := sorted(self._run.queue.other_workers()):
                    self._note += (
                        f" with these settings (there are some for {', '.join(others)})"
                    )
        return self._note

    def _print_detached(self) -> None:
        command = f"diffsegmenter preannotate --project {self._run.spec.project_id}"
        has_workers = self._noted_workers > 0
        ERRORS.print(
            ("The workers go on." if has_workers else "The tasks wait for a worker.")
            + f" Watch again: {command} --watch; cancel it: "
            f"{command} --cancel",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if not self._progress.is_listed:
            ERRORS.print(
                f"Not all tasks are listed yet; to include the others, run: {command}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
