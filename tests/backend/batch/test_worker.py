"""Jobs of the queue on a real Redis, done by RQ with a context of ours."""

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.client import PubSubWorkerThread
from rq.executions import Execution
from rq.job import Job
from rq.registry import FailedJobRegistry

from backend.batch.chunk_runner import ChunkRunner
from backend.batch.chunks import MAX_ATTEMPTS, Chunk, retry_delay_s
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.run_records import Progress, RunRecords
from backend.batch.worker import (
    ChunkWorker,
    WorkerContext,
    run_chunk,
    work_until_stopped,
)
from tests.batch_work import assert_each_once, work_of
from tests.clock import Clock
from tests.fakes import MODEL_VERSION, ColourSegmenter, Pixels, make_predictor, picture
from tests.label_studio_stand_in import LabelStudioStandIn
from tests.redis_server import running_redis


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = queue_connection(redis_url)
    yield client
    client.close()


@pytest.fixture
def queue(connection: redis.Redis) -> JobQueue:
    return JobQueue(connection, "diffsegmenter-jobs-colours-fast-1")


@pytest.fixture
def records(connection: redis.Redis) -> RunRecords:
    return RunRecords(connection)


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def run_id(records: RunRecords, project_id: int) -> str:
    return records.begin(project_id, MODEL_VERSION, "all")


class DeafRecords(RunRecords):
    """Does not take the first reports, as a Redis that is away for a moment."""

    def __init__(self, client: redis.Redis, n_lost: int) -> None:
        super().__init__(client)
        self._n_lost = n_lost

    def report(
        self,
        run_id: str,
        done: Sequence[int],
        failures: Mapping[int, str],
        gone: Sequence[int] = (),
    ) -> None:
        if self._n_lost:
            self._n_lost -= 1
            raise redis.ConnectionError("away")
        super().report(run_id, done, failures, gone)


def desk_of(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    *,
    work: ChunkRunner | None = None,
) -> WorkerContext:
    predictor = make_predictor(ColourSegmenter())
    return WorkerContext(
        work=work or work_of(studio, predictor), queue=queue, records=records
    )


def of_run(
    records: RunRecords, run_id: str, task_ids: Sequence[int], **fields: Any
) -> Chunk:
    """A chunk that a run has listed."""
    place = records.extend(run_id, len(task_ids), 0)
    return Chunk(
        project_id=int(run_id.partition("-")[0]),
        task_ids=tuple(task_ids),
        version=MODEL_VERSION,
        run_id=run_id,
        places=tuple(range(place, place + len(task_ids))),
        **fields,
    )


def waiting(queue: JobQueue) -> list[Chunk]:
    return [Chunk.from_json(job.kwargs["chunk"]) for job in queue.rq.jobs]


def scheduled(queue: JobQueue) -> list[tuple[Chunk, float]]:
    """What waits for its time, and for how many seconds from now."""
    registry = queue.rq.scheduled_job_registry
    found = []
    for job_id in registry.get_job_ids():
        job = queue.rq.fetch_job(job_id)
        assert job is not None
        left = registry.get_scheduled_time(job) - datetime.now(UTC)
        found.append((Chunk.from_json(job.kwargs["chunk"]), left.total_seconds()))
    return found


def known(records: RunRecords, run_id: str) -> Progress:
    progress = records.progress(run_id)
    assert progress is not None
    return progress


def killed_at(queue: JobQueue, job: Job) -> None:
    """Leave what a worker leaves that was killed at a job a while ago."""
    connection = queue.rq.connection
    connection.lrem(queue.rq.key, 1, job.id)
    job.set_status("started")
    with connection.pipeline() as pipeline:
        execution = Execution.create(job, ttl=1, pipeline=pipeline)
        pipeline.execute()
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).timestamp()
    connection.zadd(
        queue.rq.started_job_registry.key, {execution.composite_key: long_ago}
    )


def spring(job: Job, *_: object) -> None:
    """What is not to be called."""
    Path(job.meta["path"]).touch()


def trap(queue: JobQueue, job: Job, outcome: str, path: Path) -> None:
    """Write into Redis, as others may, what is to be called when the job ends."""
    fields = {
        f"{outcome}_callback_name": f"{__name__}.spring",
        "meta": json.dumps({"path": str(path)}),
    }
    queue.rq.connection.hset(job.key, mapping=fields)


def nonsense() -> bytes:
    """A call of our function that fails."""
    call = ["backend.batch.worker.run_chunk", None, [], {"chunk": {}}]
    return zlib.compress(json.dumps(call).encode())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_work_until_stopped_does_the_queues_jobs_and_tells_the_run(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 10)
    queue.add([of_run(records, run_id, ids[:5]), of_run(records, run_id, ids[5:])])
    records.end_listing(run_id)

    work_until_stopped(desk_of(studio, queue, records), burst=True)

    assert_each_once(studio, ids)
    progress = known(records, run_id)
    assert (progress.done, progress.failed, progress.is_over) == (10, 0, True)
    assert queue.n_waiting() == 0


def test_work_until_stopped_tells_why_tasks_failed(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    good, bad = ids = studio.add_tasks(project_id, picture("red"), "s3://nowhere/a")
    queue.add([of_run(records, run_id, ids)])

    work_until_stopped(desk_of(studio, queue, records), burst=True)

    assert known(records, run_id).done == 1
    assert list(records.failures(run_id)) == [bad]
    assert studio.versions_of(good) == [MODEL_VERSION]


def test_a_job_that_asks_for_another_function_is_dropped_and_not_run(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
    tmp_path: Path,
) -> None:
    ids = studio.add_pictures(project_id, 1)
    job = queue.rq.create_job("os.mkdir", args=[str(tmp_path / "ran")])
    queue.rq.enqueue_job(job)
    queue.add([of_run(records, run_id, ids)])

    work_until_stopped(desk_of(studio, queue, records), burst=True)

    assert not (tmp_path / "ran").exists()
    assert not Job.exists(job.id, queue.rq.connection)
    assert_each_once(studio, ids)


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_job_that_asks_for_another_callback_does_not_get_it(
    outcome: str,
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
    tmp_path: Path,
) -> None:
    ids = studio.add_pictures(project_id, 1)
    queue.add([of_run(records, run_id, ids)])
    (job,) = queue.rq.jobs
    trap(queue, job, outcome, tmp_path / "ran")
    if outcome == "failure":
        queue.rq.connection.hset(job.key, "data", nonsense())

    work_until_stopped(desk_of(studio, queue, records), burst=True)

    assert not (tmp_path / "ran").exists()


def test_a_callback_of_others_is_not_run_for_a_dead_workers_job(
    queue: JobQueue, records: RunRecords, run_id: str, tmp_path: Path
) -> None:
    queue.add([of_run(records, run_id, [17])])
    (job,) = queue.rq.jobs
    trap(queue, job, "failure", tmp_path / "ran")

    killed_at(queue, job)
    queue.maintain()

    assert not (tmp_path / "ran").exists()
    assert len(waiting(queue)) == 1


def test_do_refuses_a_run_that_was_called_off(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    chunk = of_run(records, run_id, studio.add_pictures(project_id, 2))
    queue.add([chunk])
    records.cancel(run_id)

    desk_of(studio, queue, records).do(queue.rq.job_ids[0], chunk)

    assert studio.seen == []
    assert known(records, run_id).open_jobs == 0


def test_do_leaves_the_rest_of_a_chunk_whose_run_is_called_off_meanwhile(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    chunk = of_run(records, run_id, studio.add_pictures(project_id, 20))
    queue.add([chunk])
    job_id = queue.rq.job_ids[0]
    queue.rq.empty()
    clock = Clock()

    def call_off(pixels: Pixels) -> None:
        clock.now += 60
        records.cancel(run_id)

    segmenter = ColourSegmenter(call_off)
    work = work_of(studio, make_predictor(segmenter))
    context = replace(desk_of(studio, queue, records, work=work), clock=clock)
    context.do(job_id, chunk)

    assert segmenter.calls < 20
    # What was done before is stored, and nothing goes back into the queue.
    assert 0 < known(records, run_id).done < 20
    assert not waiting(queue)
    assert not scheduled(queue)
    assert known(records, run_id).open_jobs == 0


def test_do_queues_tasks_again_that_cannot_be_done_now(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    chunk = of_run(records, run_id, ids, attempts=1)
    studio.answer(503, method="POST", times=1000)
    predictor = make_predictor(ColourSegmenter())
    work = work_of(studio, predictor, retry_for_s=0)

    desk_of(studio, queue, records, work=work).do("job", chunk)

    ((again, delay_s),) = scheduled(queue)
    assert again == chunk.part(ids, attempts=2)
    assert retry_delay_s(2) - 10 < delay_s <= retry_delay_s(2)
    progress = known(records, run_id)
    assert (progress.done, progress.failed, progress.open_jobs) == (0, 0, 1)


def test_do_gives_up_tasks_that_were_tried_often_and_says_why(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    chunk = of_run(records, run_id, ids, attempts=MAX_ATTEMPTS - 1)
    studio.answer(503, method="POST", times=1000)
    work = work_of(studio, make_predictor(ColourSegmenter()), retry_for_s=0)

    desk_of(studio, queue, records, work=work).do("job", chunk)

    assert queue.n_waiting() == 0
    failures = records.failures(run_id)
    assert set(failures) == set(ids)
    assert f"status 503. (Tried {MAX_ATTEMPTS} times.)" in failures[ids[0]]


def test_retry_delay_s_grows_to_minutes() -> None:
    assert [retry_delay_s(tries) for tries in range(1, MAX_ATTEMPTS)] == [
        10,
        40,
        160,
    ]


def test_do_puts_untouched_tasks_back_to_the_front(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 4)
    chunk = of_run(records, run_id, ids[:2], attempts=3)
    later = of_run(records, run_id, ids[2:])
    queue.add([later])
    stop = threading.Event()
    stop.set()
    work = work_of(studio, make_predictor(ColourSegmenter()), stop=stop)

    desk_of(studio, queue, records, work=work).do("job", chunk)

    assert waiting(queue) == [chunk, later]


def test_do_queues_nothing_again_of_what_was_computed_ahead(
    studio: LabelStudioStandIn, queue: JobQueue, records: RunRecords, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 2)
    studio.answer(503, times=1000)
    chunk = Chunk(
        project_id=project_id, task_ids=tuple(ids), version=MODEL_VERSION, stores=False
    )
    work = work_of(studio, make_predictor(ColourSegmenter()), retry_for_s=0)

    desk_of(studio, queue, records, work=work).do("job", chunk)

    assert queue.n_waiting() == 0


def test_do_logs_why_tasks_failed_that_are_in_no_run(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    studio.projects[project_id].label_config = "<View/>"
    chunk = Chunk(project_id=project_id, task_ids=tuple(ids), version="v2")

    desk_of(studio, queue, records).do("job", chunk)

    assert "2 tasks have no prediction; the first: The label config" in caplog.text


def test_do_ends_a_run_whose_label_config_was_changed(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    run_id = records.begin(project_id, "v2", "all")
    chunk = of_run(records, run_id, studio.add_pictures(project_id, 2))
    chunk = replace(chunk, version="v2")
    context = desk_of(studio, queue, records)

    context.do("job", chunk)
    n_seen = len(studio.seen)
    context.do("job-2", chunk)

    progress = known(records, run_id)
    assert progress.newer_version == MODEL_VERSION
    assert (progress.failed, progress.done) == (0, 0)
    assert queue.n_waiting() == 0
    assert studio.predictions == {}
    assert len(studio.seen) == n_seen, "what waits is not begun"
    assert "predictions of 0 of 2 tasks stored" in caplog.text


def test_do_has_new_tasks_done_for_a_changed_label_config(
    studio: LabelStudioStandIn, queue: JobQueue, records: RunRecords, project_id: int
) -> None:
    ids = tuple(studio.add_pictures(project_id, 2))
    chunk = Chunk(project_id=project_id, task_ids=ids, version="v2")
    context = desk_of(studio, queue, records)

    context.do("job", chunk)
    (newer,) = waiting(queue)
    context.do("job-2", replace(chunk, attempts=MAX_ATTEMPTS - 1))

    assert newer == replace(chunk, version=MODEL_VERSION, attempts=1)
    assert waiting(queue) == [newer], "it is not tried for ever"


def test_do_counts_and_logs_deleted_tasks_apart(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    ids = [*studio.add_pictures(project_id, 2), *studio.add_tasks(project_id, "")]
    run_id = records.begin(project_id, MODEL_VERSION, "all")
    chunk = of_run(records, run_id, ids)
    studio.remove_task(ids[1])

    desk_of(studio, queue, records).do("job", chunk)

    progress = known(records, run_id)
    assert (progress.done, progress.failed, progress.gone) == (1, 1, 1)
    assert "predictions of 1 of 3 tasks stored" in caplog.text
    assert ", 1 failed, 1 deleted meanwhile." in caplog.text


def test_do_tells_at_the_end_what_redis_missed_before(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    connection: redis.Redis,
    project_id: int,
    run_id: str,
) -> None:
    records = DeafRecords(connection, n_lost=1)
    ids = studio.add_tasks(project_id, picture("red"), "s3://nowhere/a")
    chunk = of_run(records, run_id, ids)

    desk_of(studio, queue, records).do("job", chunk)

    progress = known(records, run_id)
    assert (progress.done, progress.failed) == (1, 1)


def test_do_raises_when_redis_does_not_take_the_outcome_at_all(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    connection: redis.Redis,
    project_id: int,
    run_id: str,
) -> None:
    records = DeafRecords(connection, n_lost=100)
    ids = studio.add_pictures(project_id, 1)
    chunk = of_run(records, run_id, ids)

    with pytest.raises(redis.RedisError):
        desk_of(studio, queue, records).do("job", chunk)
    assert_each_once(studio, ids)


def test_do_chunk_refuses_to_run_without_a_context() -> None:
    with pytest.raises(RuntimeError, match="diffsegmenter worker"):
        run_chunk({})


def test_a_job_whose_worker_died_is_queued_anew(
    queue: JobQueue, records: RunRecords, run_id: str
) -> None:
    chunk = of_run(records, run_id, [1, 2])
    queue.add([chunk])
    (job,) = queue.rq.jobs

    killed_at(queue, job)
    n_before = len(waiting(queue))
    queue.maintain()

    assert n_before == 0
    assert waiting(queue) == [chunk]
    assert known(records, run_id).open_jobs == 1


def test_a_job_that_every_worker_dies_on_is_split_into_single_tasks(
    queue: JobQueue, records: RunRecords, run_id: str
) -> None:
    chunk = of_run(records, run_id, [1, 2, 3], attempts=1, replaces=True)
    queue.add([chunk])
    n_deaths = 0

    while len(queue.rq.job_ids) == 1:
        killed_at(queue, queue.rq.jobs[0])
        queue.maintain()
        n_deaths += 1

    assert n_deaths == 3
    assert waiting(queue) == [chunk.part([task]) for task in (1, 2, 3)]
    progress = known(records, run_id)
    assert (progress.open_jobs, progress.failed) == (3, 0)


def test_a_single_task_that_every_worker_dies_on_is_reported_as_failed(
    queue: JobQueue, records: RunRecords, run_id: str
) -> None:
    queue.add([of_run(records, run_id, [17])])
    records.end_listing(run_id)
    n_deaths = 0

    while queue.rq.job_ids:
        killed_at(queue, queue.rq.jobs[0])
        queue.maintain()
        n_deaths += 1

    assert n_deaths == 2
    assert "Each worker that began with it died" in records.failures(run_id)[17]
    assert known(records, run_id).is_over


def test_work_ahead_that_a_worker_dies_on_is_not_split(queue: JobQueue) -> None:
    queue.add([Chunk(project_id=7, task_ids=(1, 2), version="v", stores=False)])

    while queue.rq.job_ids:
        killed_at(queue, queue.rq.jobs[0])
        queue.maintain()

    assert queue.n_waiting() == 0


def test_a_job_of_a_living_worker_is_left_alone(
    queue: JobQueue, records: RunRecords, run_id: str
) -> None:
    queue.add([of_run(records, run_id, [1])])
    (job,) = queue.rq.jobs
    killed_at(queue, job)
    registry = queue.rq.started_job_registry
    (entry,) = queue.rq.connection.zrange(registry.key, 0, -1)
    soon = (datetime.now(UTC) + timedelta(seconds=15)).timestamp()
    queue.rq.connection.zadd(registry.key, {entry: soon})

    queue.maintain()

    assert queue.n_waiting() == 0
    assert known(records, run_id).open_jobs == 1


def test_what_a_killed_worker_left_is_done_by_the_next(
    studio: LabelStudioStandIn,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 4)
    queue.add([of_run(records, run_id, ids)])
    records.end_listing(run_id)
    (job,) = queue.rq.jobs
    killed_at(queue, job)

    work = work_of(studio, make_predictor(ColourSegmenter()))
    context = desk_of(studio, queue, records, work=work)
    watcher = threading.Thread(
        target=lambda: (
            wait_until(lambda: known(records, run_id).is_over),
            work.stop.set(),
        )
    )
    watcher.start()
    work_until_stopped(context)
    watcher.join()

    assert_each_once(studio, ids)
    assert len(FailedJobRegistry(queue=queue.rq)) == 0


def test_a_job_ends_well_after_an_outage_in_which_its_entry_expired(
    studio: LabelStudioStandIn,
    connection: redis.Redis,
    queue: JobQueue,
    records: RunRecords,
    project_id: int,
    run_id: str,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    queue.add([of_run(records, run_id, ids)])
    (job,) = queue.rq.jobs
    worker = ChunkWorker(desk_of(studio, queue, records), "host.1.aa.bb")
    worker.register_birth()
    execution = worker.prepare_execution(job)

    connection.delete(execution.key)
    worker.maintain_heartbeats(job, execution)

    found = Execution.fetch(execution.id, job.id, connection)
    assert found.created_at == execution.created_at
    worker.register_death()


def test_a_worker_is_counted_again_after_redis_has_forgotten_it(
    studio: LabelStudioStandIn,
    connection: redis.Redis,
    queue: JobQueue,
    records: RunRecords,
) -> None:
    worker = ChunkWorker(desk_of(studio, queue, records), "host.1.aa.bb")
    worker.register_birth()
    connection.flushall()
    forgotten = queue.n_workers()

    worker.heartbeat()

    assert (forgotten, queue.n_workers()) == (0, 1)
    worker.register_death()


def test_a_worker_ends_when_it_is_to_although_redis_is_away(
    studio: LabelStudioStandIn,
) -> None:
    before = listeners()
    with running_redis() as server:
        connection = queue_connection(server.url)
        queue = JobQueue(connection, "diffsegmenter-jobs-colours-fast-1")
        context = desk_of(studio, queue, RunRecords(connection))
        asked: list[float] = []

        def end() -> None:
            wait_until(lambda: queue.n_workers() > 0)
            server.stop()
            # Until the worker has seen it, and waits longer and longer.
            time.sleep(4)
            asked.append(time.monotonic())
            context.work.stop.set()

        ending = threading.Thread(target=end)
        ending.start()
        work_until_stopped(context)
        ending.join()

        assert time.monotonic() - asked[0] < 20
        wait_until(lambda: listeners() <= before)
        connection.close()


def listeners() -> set[threading.Thread]:
    """Threads that wait for commands to a worker."""
    return {t for t in threading.enumerate() if isinstance(t, PubSubWorkerThread)}
