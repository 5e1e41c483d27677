"""What a worker process does: jobs of the queue, one after the other, until stopped.

RQ runs the jobs (`run_chunk`) in threads of this very process, because a model is
loaded once and CUDA does not survive a fork. What RQ leaves to a forking worker is
done here: a heartbeat thread tells every few seconds that the job's worker lives, so
that the job of a worker that was killed is requeued within half a minute, and one that
takes hours is not taken away.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import redis
from rq import Queue, SimpleWorker, get_current_job, worker_registration
from rq.exceptions import AbandonedJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.utils import now
from rq.worker.base import WorkerStatus

from backend.batch.chunk_runner import ChunkRunner
from backend.batch.chunks import MAX_ATTEMPTS, Chunk, Unfinished, retry_delay_s
from backend.batch.job_queue import WORK, ChunkJob, JobQueue
from backend.batch.run_records import RunRecords
from backend.batch.run_reporting import ProgressReporter, RunIsActive
from backend.signals import shutdown_on_signals

logger = logging.getLogger(__name__)

# A worker that has not been heard of for so long is taken for dead.
_HEARTBEAT_TTL_S: Final = 20
_HEARTBEAT_S: Final = 5.0
_MAINTENANCE_S: Final = 5.0
# RQ waits for a job for 15 s less than this, and then looks whether it is to stop.
_WORKER_TTL_S: Final = 16
_CONCURRENCY: Final = 2
_PAUSE_S: Final = 2.0
_DIED: Final = (
    "Each worker that began with it died, killed or out of memory; see the workers' "
    "logs, or whether the image is very large."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerContext:
    """What jobs of this process are done with.

    Attributes:
        work: does them.
        queue: where they come from.
        records: where runs are told of.
        clock: monotonic seconds.
    """

    work: ChunkRunner
    queue: JobQueue
    records: RunRecords
    clock: Callable[[], float] = time.monotonic

    def do(self, job_id: str, chunk: Chunk) -> None:
        """Do one job; what cannot be done now goes back into the queue.

        Raises:
            redis.RedisError: if the outcome cannot be told; the job is then done again
                by RQ's means, which finds its predictions stored.
        """
        started = self.clock()
        run = RunIsActive(self.records, chunk.run_id, self.clock)
        if not run():
            self.queue.close(job_id, chunk.run_id)
            return
        reporter = ProgressReporter(self.records, chunk)
        unfinished = self.work.run(chunk, reporter, run)
        if run():
            self._requeue(chunk, unfinished, reporter)
        reporter.flush()
        self.queue.close(job_id, chunk.run_id)
        logger.info(
            "Project %s: predictions of %d of %d tasks stored in %.1f s%s.",
            chunk.project_id,
            reporter.n_done,
            len(chunk.task_ids),
            self.clock() - started,
            reporter.what_else,
        )

    def _requeue(
        self, chunk: Chunk, unfinished: Unfinished, reporter: ProgressReporter
    ) -> None:
        if not chunk.stores:
            return  # was computed ahead; whoever asks computes the rest
        if unfinished.newer_version is not None:
            self._leave_to_newer(chunk, unfinished, unfinished.newer_version)
            return
        if unfinished.not_started:
            self.queue.add([chunk.part(unfinished.not_started)], at_front=True)
        again, given_up = unfinished.next_attempt(chunk)
        if given_up.failures:
            reporter(given_up)
        if again is None:
            return
        delay_s = retry_delay_s(again.attempts)
        self.queue.add([again], delay_s=delay_s)
        logger.warning(
            "Project %s: retrying %d tasks in %.0f s: %s",
            chunk.project_id,
            len(again.task_ids),
            delay_s,
            next(iter(unfinished.retry.values())),
        )

    def _leave_to_newer(
        self, chunk: Chunk, unfinished: Unfinished, version: str
    ) -> None:
        """Have the rest done for the label config that the project has now."""
        left = chunk.part(unfinished.not_started, attempts=chunk.attempts + 1)
        logger.warning(
            "Project %s: the label config was changed, or its labels taught; %d tasks "
            "are left to a run for %s.",
            chunk.project_id,
            len(left.task_ids),
            version,
        )
        if chunk.run_id is not None:
            self.records.end_for_newer(chunk.run_id, version)
        # Workers of one queue give one version, so that this ends.
        elif left.attempts < MAX_ATTEMPTS:
            self.queue.add([replace(left, version=version)])


@dataclass
class _Process:
    """What RQ's functions without arguments find: one context per process."""

    context: WorkerContext | None = field(default=None)


_process: Final = _Process()


def run_chunk(chunk: Mapping[str, Any]) -> None:
    """RQ's entry: do one chunk with this process's context."""
    job = get_current_job()
    if _process.context is None or job is None:
        raise RuntimeError("Run this by `diffsegmenter worker`.")
    _process.context.do(job.id, Chunk.from_json(chunk))


def requeue_abandoned(
    job: Job,
    connection: redis.Redis,
    kind: type[BaseException],
    error: BaseException,
    _: object,
) -> None:
    """RQ's entry: a job failed as a whole, mostly because its worker died.

    RQ queues it again a few times. Then one of its tasks must be at fault, and each
    becomes a job of its own.

    Args:
        job: that failed.
        connection: to its Redis.
        kind: of the failure; `AbandonedJobError` where the worker was not heard of.
        error: the failure.
        _: its traceback.
    """
    if job.retries_left:
        return
    chunk = Chunk.from_json(job.kwargs["chunk"])
    if not chunk.stores:
        return
    queue = JobQueue(connection, job.origin)
    if len(chunk.task_ids) > 1:
        queue.add([chunk.part([task_id]) for task_id in chunk.task_ids])
    elif chunk.run_id is not None:
        is_dead = issubclass(kind, AbandonedJobError)
        reason = _DIED if is_dead else f"The worker fails: {error or kind.__name__}"
        failures = dict.fromkeys(chunk.task_ids, reason)
        RunRecords(connection).report(chunk.run_id, (), failures)
    queue.close(job.id, chunk.run_id)


class ChunkWorker(SimpleWorker):
    """RQ's worker that does not fork: in a thread, kept alive by a heartbeat."""

    death_penalty_class = TimerDeathPenalty

    def __init__(self, context: WorkerContext, name: str) -> None:
        """Take jobs in this context, under a name of one's own."""
        super().__init__(
            [context.queue.rq],
            name,
            connection=context.queue.rq.connection,
            job_class=ChunkJob,
            serializer=JSONSerializer,
            worker_ttl=_WORKER_TTL_S,
            maintenance_interval=1,
        )
        self._context = context
        self.log_result_lifespan = False
        self.max_connection_wait_time = _HEARTBEAT_S

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Seconds for which a job's worker is believed to live."""
        return _HEARTBEAT_TTL_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Tell that this worker lives, and that it is there.

        RQ signs on at the beginning only; a Redis that comes back empty has forgotten.

        Raises:
            StopRequested: if Redis is away and the process is to end: RQ would wait
                for Redis, however long that takes.
        """
        try:
            super().heartbeat(timeout, pipeline)
            worker_registration.register(self, pipeline)
        except (redis.ConnectionError, redis.TimeoutError):
            if self._context.work.stop.is_set():
                raise StopRequested from None
            raise

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Tell that the job is worked on.

        RQ renews one field of an entry that has expired if Redis was away for a while,
        and then takes what the entry lacks for a failure of the job when that ends
        (rq 3.0, `Execution.restore`).
        """
        execution.save(_HEARTBEAT_TTL_S)
        super().maintain_heartbeats(job, execution)

    def run_maintenance_tasks(self) -> None:
        """End when the process is to end; the queue is looked after elsewhere."""
        if self._context.work.stop.is_set():
            raise StopRequested
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def teardown(self) -> None:
        """Sign off, and end the listener for commands even if Redis is away.

        RQ ends it last, and without Redis does not come to it: it would listen on.
        """
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        finally:
            if self.pubsub_thread is not None:
                self.pubsub_thread.stop()

    def _install_signal_handlers(self) -> None:
        """Leave signals to the main thread, which alone may take them."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Do a job of ours while telling that we live."""
        if job.func_name != WORK:
            # Whoever may write into Redis is not to choose what runs here.
            logger.error("Job %s asks for %r and is dropped.", job.id, job.func_name)
            job.delete()
            return
        # What a dead worker left there is gone from where RQ looks for it afterwards,
        # which it takes for a failure of this job (rq 3.0, `Execution.refresh`).
        self.connection.delete(job.execution_registry.key)
        execution = self.prepare_execution(job)
        with _sending_heartbeats(lambda: self.maintain_heartbeats(job, execution)):
            self.perform_job(job, queue, execution)
        self.set_state(WorkerStatus.IDLE)


def work_until_stopped(context: WorkerContext, *, burst: bool = False) -> None:
    """Do the queue's jobs, through outages of Redis, until SIGTERM or SIGINT.

    Two jobs are under way at a time: one is with Label Studio, storing or fetching,
    while the other keeps the model busy. They share the model's batches.

    Args:
        context: to work at; its model should be loaded.
        burst: return when the queue is empty.
    """
    _process.context = context
    logging.getLogger("rq.worker").addFilter(_BriefOutages())
    name = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    with (
        # What is cut short is taken up by others when its heartbeat is missed.
        shutdown_on_signals(
            context.work.stop, say=logger.info, at_once=lambda: os._exit(1)
        ),
        ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="future") as pool,
    ):
        futures = [
            pool.submit(_work, context, name, burst=burst) for _ in range(_CONCURRENCY)
        ]
        maintainer: ChunkWorker | None = None
        while not all(future.done() for future in futures):
            try:
                maintainer = maintainer or ChunkWorker(context, f"{name}.house")
                context.queue.maintain(maintainer)
            except redis.RedisError as error:
                logger.warning("Redis cannot be used: %s", error)
            wait(futures, _MAINTENANCE_S)
        for future in futures:
            future.result()


def _work(context: WorkerContext, process_name: str, *, burst: bool) -> None:
    """Do jobs, one after the other; what Redis does not answer is tried again."""
    stop = context.work.stop
    while not stop.is_set():
        # Of a worker that could not take its leave, the name is taken for a while.
        name = f"{process_name}.{secrets.token_hex(4)}"
        try:
            ChunkWorker(context, name).work(burst=burst, logging_level="WARNING")
            if burst and not context.queue.n_waiting():
                return
        except redis.RedisError as error:
            logger.warning("Redis cannot be used: %s", error)
        # The border to RQ: whatever it meets, this process goes on working.
        except Exception:
            logger.exception("RQ's worker failed unexpectedly; starting another.")
        stop.wait(_PAUSE_S)


class _BriefOutages(logging.Filter):
    """Takes the traceback from what RQ logs about a Redis that is away."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        if record.exc_info and isinstance(record.exc_info[1], redis.RedisError):
            record.msg = f"{record.msg}: {type(record.exc_info[1]).__name__}"
            record.exc_info = None
        return True


@contextmanager
def _sending_heartbeats(beat: Callable[[], None]) -> Iterator[None]:
    """Beat every few seconds, in another thread, while the block lasts."""
    ended = threading.Event()

    def send_heartbeats() -> None:
        while not ended.wait(_HEARTBEAT_S):
            try:
                beat()
            except redis.RedisError as error:
                logger.warning("Heartbeat failed: %s", type(error).__name__)

    thread = threading.Thread(target=send_heartbeats, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
