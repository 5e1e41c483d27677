"""Chunks in, jobs of RQ out, and back: one queue in Redis, workers anywhere.

A queue belongs to one model with one set of options, by its name: workers that would
make other predictions do not even see its jobs. Jobs are JSON, never pickle. A job
that its worker dies on goes back into the queue by RQ's own means.

RQ does not run on a Redis Cluster.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import redis
from rq import Callback, Queue, Retry, SimpleWorker
from rq.exceptions import InvalidJobOperation
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from backend.batch.chunks import Chunk
from backend.batch.run_records import jobs_key
from backend.errors import SettingsError
from backend.redis_client import redis_client

logger = logging.getLogger(__name__)

OUR_QUEUES: Final = "diffsegmenter-jobs-"
WORK: Final = "backend.batch.worker.run_chunk"
_ABANDONED: Final = "backend.batch.worker.requeue_abandoned"
_CONNECT_TIMEOUT_S: Final = 5.0
# Longer than RQ waits for a job in one call.
_READ_TIMEOUT_S: Final = 30.0
# How often a job of several tasks is begun anew whose worker died, before it is split
# up; a job of one task is begun anew once.
_MOST_DEATHS: Final = 2
_FAILED_KEPT_S: Final = 7 * 24 * 3600
# Jobs that compute ahead for a request are worth nothing when nobody asks any more.
_PRECOMPUTE_KEPT_S: Final = 3600
_LOCK_S: Final = 10
_JOBS_AT_ONCE: Final = 1000
_ENDED: Final = frozenset(
    {JobStatus.FAILED, JobStatus.FINISHED, JobStatus.CANCELED, JobStatus.STOPPED}
)


def queue_connection(url: str) -> redis.Redis:
    """A client for the queue, with the patience that RQ needs.

    Raises:
        SettingsError: if the URL cannot be read, or names a cluster.
    """
    client = redis_client(
        url, connect_timeout_s=_CONNECT_TIMEOUT_S, read_timeout_s=_READ_TIMEOUT_S
    )
    if not isinstance(client, redis.Redis):
        raise SettingsError(
            "REDIS_URL names a Redis Cluster, on which jobs cannot be queued (RQ needs "
            "all its keys on one server). Set it to one Redis or to Sentinels for "
            "`preannotate` and `worker`, or use `preannotate --here`."
        )
    return client


class ChunkJob(Job):
    """A job as it comes out of Redis, less what others might have it call."""

    def restore(self, raw_data: Any) -> None:
        """Read what lies in Redis; callbacks are ours or none."""
        super().restore(raw_data)
        self._failure_callback_name = _ABANDONED
        self._success_callback_name = self._stopped_callback_name = None
        self.webhooks = []


class JobQueue:
    """The queue of one model. Raises `redis.RedisError` where Redis cannot be used."""

    def __init__(self, connection: redis.Redis, name: str) -> None:
        """Use the queue of that name; nothing is asked yet."""
        self.name = name
        self._connection: Any = connection
        self.rq = Queue(
            name, connection=connection, job_class=ChunkJob, serializer=JSONSerializer
        )

    def add(
        self, chunks: Sequence[Chunk], *, delay_s: float = 0, at_front: bool = False
    ) -> None:
        """Have chunks done, all or none, after a while if wanted.

        Args:
            chunks: what to do. A job of a run is noted there until it is over.
            delay_s: not before so many seconds.
            at_front: before all that waits.
        """
        with self._connection.pipeline() as pipeline:
            pipeline.multi()  # RQ would, too late for what comes before it
            self.add_within(pipeline, chunks, delay_s=delay_s, at_front=at_front)
            pipeline.execute()

    def add_within(
        self,
        pipeline: Any,
        chunks: Sequence[Chunk],
        *,
        delay_s: float = 0,
        at_front: bool = False,
    ) -> None:
        """Put chunks into a transaction that others have begun and execute."""
        due = datetime.now(UTC) + timedelta(seconds=delay_s)
        for chunk in chunks:
            job = self._job(chunk)
            if chunk.run_id is not None:
                pipeline.sadd(jobs_key(chunk.run_id), job.id)
            if delay_s > 0:
                self.rq.schedule_job(job, due, pipeline=pipeline)
            else:
                self.rq.enqueue_job(job, pipeline=pipeline, at_front=at_front)

    def close(self, job_id: str, run_id: str | None) -> None:
        """Note that nothing of a job is left to do."""
        if run_id is not None:
            self._connection.srem(jobs_key(run_id), job_id)

    def n_waiting(self) -> int:
        """How many jobs wait, those that wait for their time among them."""
        return int(self.rq.count) + self.n_scheduled()

    def n_scheduled(self) -> int:
        """How many jobs wait for their time, waiting to retry."""
        return int(self.rq.scheduled_job_registry.get_job_count(cleanup=False))

    def next_due_s(self) -> float | None:
        """Seconds until the first of them has its time; None if none waits for it."""
        key = self.rq.scheduled_job_registry.key
        first = self._connection.zrange(key, 0, 0, withscores=True)
        return max(0.0, first[0][1] - time.time()) if first else None

    def n_workers(self) -> int:
        """How many worker processes are there for this queue.

        Each has several workers in RQ's sense, told apart by the last part of a name.
        """
        workers = SimpleWorker.all(queue=self.rq)
        return len({worker.name.rpartition(".")[0] for worker in workers})

    def other_workers(self) -> set[str]:
        """Names of our queues that workers are there for, this one apart."""
        names = {
            name
            for worker in SimpleWorker.all(connection=self._connection)
            for name in worker.queue_names()
        }
        return {name for name in names if _is_ours(name)} - {self.name}

    def maintain(self, worker: SimpleWorker | None = None) -> None:
        """Take up what a dead worker left, and queue what is due.

        Every worker and whoever watches a run does it every few seconds; one at a
        time, so that nothing is queued twice.

        Args:
            worker: gives up, in RQ's way, what was taken out of the queue and never
                begun; None leaves that to those who work.
        """
        # RQ has a lock for this, which a dead worker holds for a quarter of an hour.
        lock = f"diffsegmenter:house:{self.name}"
        if not self._connection.set(lock, 1, nx=True, ex=_LOCK_S):
            return
        try:
            StartedJobRegistry(
                queue=self.rq,
                job_class=ChunkJob,
                serializer=JSONSerializer,
                # RQ's usual one works in the main thread only.
                death_penalty_class=TimerDeathPenalty,
            ).cleanup()
            self._queue_what_is_due()
            if worker is not None:
                self.rq.intermediate_queue.cleanup(worker, self.rq)
        finally:
            self._connection.delete(lock)

    def remove_jobs(self, run_id: str) -> None:
        """Take a run's waiting jobs out of the queue; those at work are left."""
        for job_id, job in self._jobs_of(run_id):
            # What RQ raises of a job that ended, and is gone, since it was listed.
            with suppress(InvalidJobOperation):
                if job is not None and not job.is_started:
                    job.delete()
                    self.close(job_id, run_id)
        self.forget_lost_jobs(run_id)

    def forget_lost_jobs(self, run_id: str) -> int:
        """Forget jobs of a run that are nowhere any more; returns how many."""
        lost = [
            job_id
            for job_id, job in self._jobs_of(run_id)
            if job is None or job.get_status(refresh=False) in _ENDED
        ]
        if lost:
            self._connection.srem(jobs_key(run_id), *lost)
        return len(lost)

    def _jobs_of(self, run_id: str) -> Iterator[tuple[str, Job | None]]:
        """A run's jobs by id, None for those that are nowhere; some at a time."""
        members: set[bytes] = self._connection.smembers(jobs_key(run_id))
        left = iter(members)
        while some := [str(job_id, "utf-8") for job_id in islice(left, _JOBS_AT_ONCE)]:
            jobs = ChunkJob.fetch_many(some, self._connection, JSONSerializer)
            yield from zip(some, jobs, strict=True)

    def _job(self, chunk: Chunk) -> Job:
        what = f"{len(chunk.task_ids)} tasks of project {chunk.project_id}"
        return self.rq.create_job(
            WORK,
            kwargs={"chunk": chunk.to_json()},
            # A slow CPU and a Label Studio that is away take their time; whether the
            # worker lives, its heartbeat tells.
            timeout=-1,
            result_ttl=0,
            failure_ttl=_FAILED_KEPT_S,
            ttl=None if chunk.stores else _PRECOMPUTE_KEPT_S,
            retry=Retry(max=_MOST_DEATHS if len(chunk.task_ids) > 1 else 1),
            on_failure=Callback(_ABANDONED),
            description=what,
        )

    def _queue_what_is_due(self) -> None:
        registry = self.rq.scheduled_job_registry
        job_ids = registry.get_jobs_to_schedule()
        jobs = ChunkJob.fetch_many(job_ids, self._connection, JSONSerializer)
        with self._connection.pipeline() as pipeline:
            pipeline.multi()
            for job_id, job in zip(job_ids, jobs, strict=True):
                if job is not None:
                    self.rq.enqueue_job(job, pipeline=pipeline)
                registry.remove(job_id, pipeline=pipeline)
            pipeline.execute()


def _is_ours(name: str) -> bool:
    return name.startswith(OUR_QUEUES)
