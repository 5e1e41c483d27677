"""Several processes that list one run, and what a limit is worth after a loss."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.listing import RunSpec
from backend.batch.run_records import ListingEnded, Progress, RunRecords
from backend.batch.runs import QueuedRun
from backend.label_studio import ProjectTasks
from tests.fakes import MODEL_VERSION
from tests.label_studio_stand_in import LabelStudioStandIn

NewRun = Callable[..., QueuedRun]


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = queue_connection(redis_url)
    yield client
    client.close()


@pytest.fixture
def new_run(
    connection: redis.Redis, studio: LabelStudioStandIn, project_id: int
) -> NewRun:
    """What one process has at hand."""

    def make(**spec: Any) -> QueuedRun:
        return QueuedRun(
            queue=JobQueue(connection, "diffsegmenter-colours-fast-1"),
            records=RunRecords(connection),
            tasks=ProjectTasks(studio.client(), project_id, retry_for_s=0),
            spec=RunSpec(project_id=project_id, **spec),
            version=MODEL_VERSION,
        )

    return make


def queued(run: QueuedRun) -> list[int]:
    """Ids of tasks that wait, in order."""
    chunks = [Chunk.from_json(job.kwargs["chunk"]) for job in run.queue.rq.jobs]
    return [task_id for chunk in chunks for task_id in chunk.task_ids]


def known(run: QueuedRun, run_id: str) -> Progress:
    progress = run.records.progress(run_id)
    assert progress is not None
    return progress


def list_all(run: QueuedRun, run_id: str) -> bool:
    return run.list_tasks(run_id, threading.Event())


@pytest.mark.parametrize("spec", ["all", "tab"])
def test_of_many_that_begin_at_once_one_begins_and_one_lists(
    spec: str, studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    ids = studio.add_pictures(project_id, 30)
    tab = {"view_id": studio.add_tab(project_id, ids)} if spec == "tab" else {}
    runs = [new_run(**tab) for _ in range(6)]
    studio.most_per_page = 7
    studio.answer_slowly(0.05, method="GET", times=1000)
    barrier = threading.Barrier(len(runs))
    begun: set[str] = set()

    def begin_and_list(run: QueuedRun) -> None:
        barrier.wait()
        run_id = run.begin()
        begun.add(run_id)
        list_all(run, run_id)

    threads = [threading.Thread(target=begin_and_list, args=[run]) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (run_id,) = begun
    assert queued(runs[0]) == ids
    assert known(runs[0], run_id).total == 30


def test_a_second_process_lists_what_a_killed_one_has_left(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 6)
    studio.most_per_page = 2
    first, second = new_run(), new_run()
    run_id = first.begin()
    stop = threading.Event()
    stop.set()
    first.list_tasks(run_id, stop)

    while_it_lives = list_all(second, second.begin())
    connection.delete(f"diffsegmenter:run:{run_id}:lister")  # as time does
    once_it_is_dead = list_all(second, run_id)

    assert (while_it_lives, once_it_is_dead) == (False, True)
    assert queued(first) == ids


def test_a_process_that_is_too_slow_does_not_list_beside_its_successor(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    slow, quick = new_run(), new_run()
    run_id = slow.begin()

    def overtake() -> None:
        connection.delete(f"diffsegmenter:run:{run_id}:lister")
        list_all(quick, run_id)

    studio.before("GET", overtake, path_part="/api/tasks")

    assert not list_all(slow, run_id)
    assert queued(slow) == ids


def test_who_leaves_lets_others_list_at_once(
    studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    studio.add_pictures(project_id, 1)
    first, second = new_run(), new_run()
    run_id = first.begin()

    second.records.end_own_listing(run_id, second.token)
    while_it_lists = list_all(second, run_id)
    first.records.end_own_listing(run_id, first.token)

    assert not while_it_lists
    assert list_all(second, run_id)


def test_a_lister_is_believed_to_live_while_it_says_so(
    new_run: NewRun, connection: redis.Redis
) -> None:
    run = new_run()
    run_id = run.begin()
    key = f"diffsegmenter:run:{run_id}:lister"
    connection.expire(key, 1)

    next(run.watch(run_id))
    kept = [run.records.keep_listing(run_id, "another"), connection.ttl(key) <= 1]
    kept.append(run.records.keep_listing(run_id, run.token))

    assert kept == [False, True, True]
    assert 1 < connection.ttl(key) <= 30


def test_a_tab_is_listed_all_or_not_at_all(
    studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    ids = studio.add_pictures(project_id, 5)
    run = new_run(view_id=studio.add_tab(project_id, ids[::-1]))
    run_id = run.begin()
    stop = threading.Event()
    stop.set()

    run.list_tasks(run_id, stop)

    assert queued(run) == ids[::-1]
    assert known(run, run_id).is_listed


def test_a_run_that_was_called_off_is_not_listed_further(
    studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    studio.add_pictures(project_id, 3)
    run = new_run()
    run_id = run.begin()
    studio.before("GET", lambda: run.cancel(run_id), path_part="/api/tasks")

    list_all(run, run_id)

    assert queued(run) == []
    assert known(run, run_id).is_over


def test_extend_by_another_than_the_lister_is_refused(new_run: NewRun) -> None:
    run = new_run()
    run_id = run.begin()

    with pytest.raises(ListingEnded):
        run.records.extend(run_id, 1, 1, lister="another")

    assert known(run, run_id).total == 0


def test_a_limit_outlives_the_loss_of_all_records(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 12)
    studio.most_per_page = 4
    run = new_run(limit=5)
    run_id = run.begin()
    list_all(run, run_id)
    lost = known(run, run_id)
    connection.flushall()
    for task_id in ids[:2]:  # of which nobody was told
        studio.store(task_id, MODEL_VERSION)

    again = run.begin(lost)
    list_all(run, again)

    assert queued(run) == ids[2:5]
    assert known(run, again).total == 3


def test_a_limit_goes_on_where_it_was_when_the_records_were_lost(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 12)
    studio.most_per_page = 2
    run = new_run(limit=5)
    run_id = run.begin()
    stop = threading.Event()
    stop.set()
    run.list_tasks(run_id, stop)
    lost = known(run, run_id)
    connection.flushall()
    studio.store(ids[0], MODEL_VERSION)

    again = run.begin(lost)
    run.list_tasks(again, stop)
    lost = known(run, again)
    connection.flushall()
    once_more = run.begin(lost)
    list_all(run, once_more)

    # Of the five that were meant, what was stored is left out, and no sixth comes.
    assert queued(run) == ids[1:5]


def test_a_tabs_limit_means_the_same_tasks_after_a_loss(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 6)
    tab = studio.add_tab(project_id, ids)
    run = new_run(view_id=tab, limit=3)
    run_id = run.begin()
    list_all(run, run_id)
    lost = known(run, run_id)
    connection.flushall()
    studio.projects[project_id].tabs[tab] = ids[2:]  # as a tab of what is not done

    list_all(run, run.begin(lost))

    assert queued(run) == ids[:3]
