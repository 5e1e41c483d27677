import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.batch.chunks import Chunk
from backend.batch.job_queue import WORK, JobQueue, queue_connection
from backend.batch.run_records import jobs_key
from backend.errors import SettingsError
from tests.redis_server import RedisServer

NAME = "diffsegmenter-jobs-colours-fast-1"
RUN = "7-ab"


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = queue_connection(redis_url)
    yield client
    client.close()


@pytest.fixture
def queue(connection: redis.Redis) -> JobQueue:
    return JobQueue(connection, NAME)


def chunk(*task_ids: int, **fields: Any) -> Chunk:
    return Chunk(project_id=7, task_ids=task_ids, version=NAME, **fields)


def of_run(*task_ids: int) -> Chunk:
    return chunk(*task_ids, run_id=RUN, places=task_ids)


def jobs(queue: JobQueue) -> list[Job]:
    """Those that wait, in the order in which they will be taken."""
    found: list[Job] = queue.rq.jobs
    return found


def chunks(queue: JobQueue) -> list[Chunk]:
    return [Chunk.from_json(job.kwargs["chunk"]) for job in jobs(queue)]


def open_jobs(connection: redis.Redis) -> int:
    return int(connection.scard(jobs_key(RUN)))


def born(connection: redis.Redis, queue: str, name: str) -> SimpleWorker:
    worker = SimpleWorker(
        [queue], name, connection=connection, serializer=JSONSerializer
    )
    worker.register_birth()
    return worker


def test_chunks_come_back_as_they_went_in(queue: JobQueue) -> None:
    wanted = [of_run(1, 2), chunk(3, replaces=True, attempts=2), chunk(4, stores=False)]

    queue.add(wanted)

    assert chunks(queue) == wanted
    assert queue.n_waiting() == 3


def test_a_job_is_json_in_redis_and_names_our_function(
    queue: JobQueue, redis_server: RedisServer
) -> None:
    queue.add([chunk(1, 2)])

    (job,) = jobs(queue)
    with redis_server.client() as client:
        fields = client.hgetall(f"rq:job:{job.id}")
    func, instance, args, kwargs = json.loads(zlib.decompress(fields[b"data"]))
    assert func == WORK
    assert (instance, args) == (None, [])
    assert kwargs["chunk"]["task_ids"] == [1, 2]


def test_queues_of_two_models_do_not_see_each_others_jobs(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([chunk(1)])

    assert JobQueue(connection, "diffsegmenter-jobs-colours-fast-2").n_waiting() == 0


def test_what_is_added_at_the_front_is_done_first(queue: JobQueue) -> None:
    queue.add([chunk(1), chunk(2)])

    queue.add([chunk(3)], at_front=True)

    assert [found.task_ids for found in chunks(queue)] == [(3,), (1,), (2,)]


def test_a_delayed_job_waits_until_it_is_due(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([of_run(1)], delay_s=3600)

    queue.maintain()

    assert jobs(queue) == []
    assert queue.n_waiting() == 1
    assert open_jobs(connection) == 1


def test_keep_house_queues_once_what_is_due(queue: JobQueue) -> None:
    queue.add([chunk(1), chunk(2)], delay_s=0.01)
    # RQ keeps the time in whole seconds.
    deadline = time.monotonic() + 20

    while not jobs(queue) and time.monotonic() < deadline:
        queue.maintain()
        time.sleep(0.05)
    queue.maintain()

    assert {found.task_ids for found in chunks(queue)} == {(1,), (2,)}
    assert queue.n_waiting() == 2


def test_keep_house_leaves_the_house_to_whoever_is_at_it(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([chunk(1)], delay_s=0.01)
    connection.set(f"diffsegmenter:house:{NAME}", 1)
    time.sleep(1.1)

    queue.maintain()
    left = queue.n_waiting(), len(jobs(queue))
    connection.delete(f"diffsegmenter:house:{NAME}")
    queue.maintain()

    assert left == (1, 0)
    assert len(jobs(queue)) == 1


def test_jobs_of_a_run_are_open_until_they_are_closed(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([of_run(1), of_run(2), chunk(3)])
    before = open_jobs(connection)

    queue.close(jobs(queue)[0].id, RUN)
    queue.close(jobs(queue)[2].id, None)

    assert (before, open_jobs(connection)) == (2, 1)


def test_remove_jobs_takes_a_runs_waiting_jobs_and_no_others(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([of_run(1), of_run(2), of_run(3), chunk(4)])
    queue.add([of_run(5)], delay_s=3600)
    jobs(queue)[0].set_status("started")

    queue.remove_jobs(RUN)

    assert [found.task_ids for found in chunks(queue)] == [(1,), (4,)]
    assert queue.n_waiting() == 2
    assert open_jobs(connection) == 1


def test_remove_jobs_passes_over_a_job_that_ends_meanwhile(
    connection: redis.Redis,
) -> None:
    class LateQueue(JobQueue):
        """A worker ends the first job between the list and the look at it."""

        def _jobs_of(self, run_id: str) -> Iterator[tuple[str, Job | None]]:
            listed = list(super()._jobs_of(run_id))
            connection.delete(ended.key)
            yield from listed

    queue = LateQueue(connection, NAME)
    queue.add([of_run(1), of_run(2)])
    ended, _ = jobs(queue)

    queue.remove_jobs(RUN)

    assert chunks(queue) == []
    assert open_jobs(connection) == 0


def test_drop_lost_forgets_jobs_that_are_nowhere(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([of_run(1), of_run(2), of_run(3)])
    lost, failed, _ = jobs(queue)
    connection.delete(lost.key)
    failed.set_status("failed")
    connection.sadd(jobs_key(RUN), "never-queued")

    n_dropped = queue.forget_lost_jobs(RUN)

    assert n_dropped == 3
    assert open_jobs(connection) == 1
    assert queue.forget_lost_jobs(RUN) == 0


def test_drop_lost_keeps_jobs_that_wait_for_their_time(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([of_run(1)], delay_s=3600)

    assert queue.forget_lost_jobs(RUN) == 0
    assert open_jobs(connection) == 1


def test_n_workers_counts_processes_and_not_their_hands(
    queue: JobQueue, connection: redis.Redis
) -> None:
    before = queue.n_workers()
    for name in ("host.1.ab.x", "host.1.ab.y", "host.2.cd.x"):
        born(connection, NAME, name)
    born(connection, "diffsegmenter-jobs-other-fast-9", "host.3.ef.x")
    born(connection, "somebody-elses-queue", "theirs")

    assert (before, queue.n_workers()) == (0, 2)
    assert queue.other_workers() == {"diffsegmenter-jobs-other-fast-9"}


def test_work_ahead_is_dropped_when_nobody_can_want_it_any_more(
    queue: JobQueue, connection: redis.Redis
) -> None:
    queue.add([chunk(1, stores=False), chunk(2)])

    ahead, stored = (connection.ttl(job.key) for job in jobs(queue))
    assert 0 < ahead <= 3600
    assert stored == -1


@pytest.mark.parametrize(
    "url", ["redis+cluster://a:6379", "rediss+cluster://:pw@a,b:7000"]
)
def test_a_cluster_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(SettingsError, match=r"Redis Cluster.*--here") as caught:
        queue_connection(url)

    assert "pw" not in str(caught.value)


def test_a_redis_that_is_away_raises() -> None:
    connection = queue_connection("redis://127.0.0.1:1/0")

    with pytest.raises(redis.RedisError):
        JobQueue(connection, NAME).add([chunk(1)])


def test_next_due_s_is_of_the_first_that_waits_for_its_time(queue: JobQueue) -> None:
    before = queue.next_due_s()
    queue.add([chunk(1)], delay_s=160)
    queue.add([chunk(2)], delay_s=40)

    due_s = queue.next_due_s()

    assert before is None
    assert due_s is not None
    assert 35 < due_s <= 41
