"""What a run asks of Redis, and what it keeps there."""

import time
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from rich import box
from rich.table import Table

from backend.batch import JobQueue, RunRecords, queue_connection
from backend.batch.chunks import Chunk
from backend.cache import Cache
from backend.cache.redis_store import RedisStore
from backend.engine import build_engine
from backend.settings import Settings
from tests.bench.queue_rig import Rig
from tests.bench.redis_usage import redis_counters, used_bytes
from tests.fakes import RED_AND_BLUE
from tests.redis_server import running_redis

JOB_SIZES: Final = (16, 128)
LARGEST_JOB: Final = 128
TASKS_IN_MEMORY: Final = 1_000_000
_NO_NAME: Final = "diffsegmenter-bench"


def traffic_table(rig: Rig, n_tasks: int) -> Table:
    table = Table(
        box=box.MARKDOWN,
        title=f"Redis, per image of a run of {n_tasks} by one worker that does not "
        f"sleep, watched twice a second",
    )
    for name in ("tasks a job", "commands", "to Redis", "from Redis", "cached value"):
        table.add_column(name, justify="right")
    table.add_column("most frequent commands")
    for size in JOB_SIZES:
        table.add_row(str(size), *_traffic_of(rig, n_tasks, size))
    return table


def _traffic_of(rig: Rig, n_tasks: int, job_size: int) -> list[str]:
    with running_redis() as redis, redis.client() as client:
        batch = rig.new_batch(redis, n_tasks)
        ids = [task["id"] for task in rig.api.tasks(batch.project_id)]
        with (
            rig.worker(batch, 1, 0),
            closing(queue_connection(redis.url)) as connection,
        ):
            engine = build_engine(Settings.from_env(batch.environment))
            version = engine.predictor.model_version(RED_AND_BLUE)
            queue = JobQueue(connection, engine.predictor.queue_name)
            records = RunRecords(connection)
            before = redis_counters(client)
            run_id = records.begin(batch.project_id, version, "all")
            _queue_tasks(
                queue, records, batch.project_id, run_id, ids, job_size, version
            )
            records.end_listing(run_id)
            while not (progress := records.progress(run_id)) or not progress.is_over:
                time.sleep(0.5)
            after = redis_counters(client)
        batch.assert_each_once()
        with closing(Cache(RedisStore(redis.url, ttl_s=60))) as cache:
            size = cache.measure()
    assert size is not None
    spent = {key: (after[key] - before.get(key, 0)) / n_tasks for key in after}
    sent, received = spent.pop("in"), spent.pop("out")
    most = sorted(spent.items(), key=lambda item: -item[1])[:8]
    return [
        f"{sum(spent.values()):.1f}",
        f"{sent:.0f} B",
        f"{received:.0f} B",
        f"{size.bytes / size.entries:.0f} B",
        ", ".join(f"{n:.1f} {key}" for key, n in most),
    ]


def _queue_tasks(
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
    ids: list[int],
    job_size: int,
    version: str,
) -> None:
    """Queue a page of tasks as `preannotate` does, in jobs of this size."""
    place = records.extend(run_id, len(ids), ids[-1])
    places = range(place, place + len(ids))
    queue.add(
        [
            Chunk(
                project_id=project_id,
                task_ids=tuple(ids[start : start + job_size]),
                version=version,
                run_id=run_id,
                places=tuple(places[start : start + job_size]),
            )
            for start in range(0, len(ids), job_size)
        ]
    )


@dataclass(frozen=True, kw_only=True)
class QueueMemory:
    """What Redis takes for a run of TASKS_IN_MEMORY, measured, in bytes.

    Attributes:
        queue_bytes: of all jobs.
        records_bytes: of the bitmap of what is done.
        queue_s: to queue 1,000 tasks.
        look_through_s: to look through all jobs for lost ones.
    """

    queue_bytes: int
    records_bytes: int
    queue_s: float
    look_through_s: float

    def table(self) -> Table:
        table = Table(
            box=box.MARKDOWN,
            title=f"Redis, a run of {TASKS_IN_MEMORY:,} tasks in jobs of "
            f"{LARGEST_JOB}, all listed and none begun (measured)",
        )
        table.add_column("")
        table.add_column("", justify="right")
        table.add_row("jobs", f"{self.queue_bytes / 1e6:.1f} MB")
        table.add_row("record of what is done", f"{self.records_bytes / 1e3:.0f} kB")
        per_thousand = (self.queue_bytes + self.records_bytes) / TASKS_IN_MEMORY
        table.add_row("both, per 1,000 tasks", f"{per_thousand:.1f} kB")
        table.add_row("to queue 1,000 tasks", f"{self.queue_s * 1e3:.0f} ms")
        table.add_row("a look for lost jobs", f"{self.look_through_s:.1f} s")
        return table


def measure_memory() -> QueueMemory:
    with (
        running_redis() as redis,
        redis.client() as client,
        closing(queue_connection(redis.url)) as connection,
    ):
        queue, records = JobQueue(connection, _NO_NAME), RunRecords(connection)
        run_id = records.begin(1, f"{_NO_NAME}-00000000", "all")
        before = used_bytes(client)
        start = perf_counter()
        page = 8 * LARGEST_JOB
        for first in range(1, TASKS_IN_MEMORY + 1, page):
            ids = list(range(first, min(first + page, TASKS_IN_MEMORY + 1)))
            version = f"{_NO_NAME}-00000000"
            _queue_tasks(queue, records, 1, run_id, ids, LARGEST_JOB, version)
        queued_s = perf_counter() - start
        listed = used_bytes(client)
        records.report(run_id, [TASKS_IN_MEMORY - 1], {})
        with_records = used_bytes(client)
        start = perf_counter()
        queue.forget_lost_jobs(run_id)
        look_through_s = perf_counter() - start
    return QueueMemory(
        queue_bytes=listed - before,
        records_bytes=with_records - listed,
        queue_s=queued_s / TASKS_IN_MEMORY * 1000,
        look_through_s=look_through_s,
    )
