from collections.abc import Iterator
from contextlib import closing, contextmanager

from backend.batch import JobQueue, queue_connection
from backend.batch.chunks import Chunk
from backend.batch.worker import ChunkWorker, WorkerContext
from backend.doctor.findings import Finding
from backend.doctor.workers import check_workers
from tests.backend.doctor.checks import only, settings
from tests.redis_server import free_port

_QUEUE = "diffsegmenter-jobs-doctor-fast-1"


def check(**variables: str) -> Finding:
    return only(check_workers(settings(**variables), _QUEUE))


@contextmanager
def queue_of(redis_url: str, name: str = _QUEUE) -> Iterator[JobQueue]:
    with closing(queue_connection(redis_url)) as connection:
        connection.flushall()
        yield JobQueue(connection, name)


@contextmanager
def worker_of(queue: JobQueue) -> Iterator[None]:
    """A worker that has signed on, and off again."""
    # It does no job here, so it needs nothing to do it with.
    desk = WorkerContext(work=None, queue=queue, records=None)  # type: ignore[arg-type]
    worker = ChunkWorker(desk, "host.1.aa.bb")
    worker.register_birth()
    yield
    worker.register_death()


def test_check_workers_needs_none_without_redis() -> None:
    finding = check()

    assert finding.level == "ok"
    assert "`preannotate` does the work itself" in finding.seen


def test_check_workers_counts_those_with_the_same_settings(redis_url: str) -> None:
    with queue_of(redis_url) as queue, worker_of(queue):
        finding = check(REDIS_URL=redis_url)

    assert finding.level == "ok"
    assert finding.seen == f"1 for these settings ({_QUEUE})"


def test_check_workers_warns_of_workers_with_other_settings(redis_url: str) -> None:
    other = "diffsegmenter-jobs-doctor-fast-2"
    with queue_of(redis_url, other) as queue, worker_of(queue):
        finding = check(REDIS_URL=redis_url)

    assert finding.level == "warning"
    assert f"there are some for {other}" in finding.seen
    assert finding.remedy is not None
    assert "MODEL and all options" in finding.remedy


def test_check_workers_warns_of_jobs_that_nobody_does(redis_url: str) -> None:
    with queue_of(redis_url) as queue:
        queue.add([Chunk(project_id=1, task_ids=(1,), version="v")])
        finding = check(REDIS_URL=redis_url)

    assert finding.level == "warning"
    assert "0 for these settings" in finding.seen
    assert "1 job waits" in finding.seen
    assert finding.remedy == "Start one: diffsegmenter worker"


def test_check_workers_counts_jobs_that_wait(redis_url: str) -> None:
    with queue_of(redis_url) as queue:
        queue.add([Chunk(project_id=1, task_ids=(n,), version="v") for n in (1, 2)])
        finding = check(REDIS_URL=redis_url)

    assert "2 jobs wait" in finding.seen


def test_check_workers_leaves_a_dead_redis_to_the_check_of_the_cache() -> None:
    finding = check(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")

    assert finding.level == "skipped"


def test_check_workers_says_that_a_cluster_takes_no_jobs() -> None:
    finding = check(REDIS_URL="redis+cluster://127.0.0.1:1")

    assert finding.level == "warning"
    assert "--here" in str(finding.remedy)
