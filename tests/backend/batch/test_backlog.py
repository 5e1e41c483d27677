"""Work that the server does behind its requests."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from backend.batch.backlog import Backlog
from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue, queue_connection
from backend.inference import Predictor
from backend.label_studio import PredictRequest, parse_predict
from backend.types import LabelStudioAccess
from tests.asking import NOWHERE
from tests.batch_work import assert_each_once, work_of
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    Pixels,
    make_predictor,
    picture,
)
from tests.label_studio_stand_in import LabelStudioStandIn

FROM_ENVIRONMENT = LabelStudioAccess(url=None, from_environment=True)


@pytest.fixture
def started() -> Iterator[Callable[[Backlog], Backlog]]:
    """Starts backlogs, and stops them when the test is over."""
    running: list[Backlog] = []

    def start(backlog: Backlog) -> Backlog:
        running.append(backlog)
        backlog.start()
        return backlog

    yield start
    for backlog in running:
        backlog.stop()


@pytest.fixture
def queue(redis_url: str) -> Iterator[JobQueue]:
    connection = queue_connection(redis_url)
    yield JobQueue(connection, "diffsegmenter-colours-fast-1")
    connection.close()


def request_of(*addresses: str, project: str | None = "7.123") -> PredictRequest:
    tasks = [
        {"id": number, "data": {"image": address}}
        for number, address in enumerate(addresses, start=1)
    ]
    return parse_predict(
        {"tasks": tasks, "label_config": RED_AND_BLUE, "project": project}
    )


def on_timeout(
    backlog: Backlog, request: PredictRequest, access: LabelStudioAccess = NOWHERE
) -> None:
    backlog.precompute(request.tasks, request, access)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(backlog: Backlog) -> None:
    """Wait until nothing waits, nor is under way."""
    idle = threading.Event()
    backlog._pieces.put(idle.set)
    assert idle.wait(30)


def with_worker(queue: JobQueue) -> JobQueue:
    SimpleWorker(
        [queue.rq],
        "host.1.ab.x",
        connection=queue.rq.connection,
        serializer=JSONSerializer,
    ).register_birth()
    return queue


def queued(queue: JobQueue) -> list[Chunk]:
    return [Chunk.from_json(job.kwargs["chunk"]) for job in queue.rq.jobs]


def test_stop_ends_what_is_under_way_with_the_image_at_hand(
    started: Callable[[Backlog], Backlog], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    reached, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        reached.set()
        assert go_on.wait(30)

    segmenter = ColourSegmenter(block)
    backlog = started(Backlog(predictor=make_predictor(segmenter)))
    tasks = [picture("red", size_yx=(4, 6 + n)) for n in range(4)]
    on_timeout(backlog, request_of(*tasks))
    on_timeout(backlog, request_of(picture("blue"), project="8.1"))
    assert reached.wait(30)

    backlog.stop()
    go_on.set()
    backlog.join(30)

    assert segmenter.calls == 1
    assert not any(thread.name == "backlog" for thread in threading.enumerate())
    assert "0 of 4 tasks are precomputed" in caplog.text


def test_new_tasks_of_one_project_leave_room_for_those_of_others(
    studio: LabelStudioStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    # Not started: what comes waits.
    predictor = make_predictor(ColourSegmenter())
    backlog = Backlog(predictor=predictor, work=work_of(studio, predictor))

    for first in range(1, 200_001, 25_000):
        backlog.pre_annotate(7, range(first, first + 25_000))
    waiting = backlog.n_waiting
    backlog.pre_annotate(8, range(1, 1001))

    assert waiting == 50_000
    assert backlog.n_waiting == 51_000
    assert "Project 7: 25000 new tasks are not queued" in caplog.text


def test_what_a_request_left_is_in_the_cache_when_it_is_asked_for_again(
    started: Callable[[Backlog], Backlog], cache: MemoryCache
) -> None:
    segmenter = ColourSegmenter()
    backlog = started(Backlog(predictor=make_predictor(segmenter, cache=cache)))
    hurried = make_predictor(
        segmenter, cache=cache, budget_s=0, on_timeout=backlog.precompute
    )
    patient = make_predictor(segmenter, cache=cache)
    request = request_of(picture("red"), picture("blue"))

    first = hurried.predict(request, NOWHERE)
    finished(backlog)
    calls = segmenter.calls
    second = patient.predict(request, NOWHERE)

    assert first == [[], []]
    assert calls == 2
    assert segmenter.calls == 2
    assert all(isinstance(answer, dict) for answer in second)


def test_a_task_that_waits_is_not_put_off_again(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    backlog = Backlog(predictor=predictor)
    request = request_of(picture("red"), picture("blue"))
    other = request_of(picture("green"), project="8.123")

    for asked in (request, request, other):
        on_timeout(backlog, asked)
    backlog.start()
    finished(backlog)
    backlog.stop()

    assert segmenter.calls == 3


def test_a_task_that_was_done_may_be_put_off_again(
    started: Callable[[Backlog], Backlog],
    predictor: Predictor,
    segmenter: ColourSegmenter,
    cache: MemoryCache,
) -> None:
    backlog = started(Backlog(predictor=predictor))
    request = request_of(picture("red"))

    on_timeout(backlog, request)
    finished(backlog)
    cache.clear()
    on_timeout(backlog, request)
    finished(backlog)

    assert segmenter.calls == 2


def test_a_task_that_fails_does_not_wait_for_ever(
    started: Callable[[Backlog], Backlog], predictor: Predictor
) -> None:
    backlog = started(Backlog(predictor=predictor))

    on_timeout(backlog, request_of("s3://nowhere/a", picture("red")))
    finished(backlog)

    assert backlog.n_waiting == 0


def test_leftovers_go_to_the_front_of_the_workers_where_there_are_any(
    started: Callable[[Backlog], Backlog],
    predictor: Predictor,
    segmenter: ColourSegmenter,
    queue: JobQueue,
) -> None:
    earlier = Chunk(project_id=1, task_ids=(1,), version="v")
    queue.add([earlier])
    backlog = started(Backlog(predictor=predictor, queue=with_worker(queue)))

    on_timeout(backlog, request_of(picture("red"), picture("blue")), FROM_ENVIRONMENT)
    finished(backlog)

    ahead = Chunk(project_id=7, task_ids=(1, 2), version=MODEL_VERSION, stores=False)
    assert queued(queue) == [ahead, earlier]
    assert segmenter.calls == 0


@pytest.mark.parametrize(
    ("project", "access", "has_worker"),
    [
        pytest.param("7.123", FROM_ENVIRONMENT, False, id="no-worker"),
        pytest.param("7.123", NOWHERE, True, id="access-of-the-request"),
        pytest.param(None, FROM_ENVIRONMENT, True, id="no-project"),
        pytest.param("x.y", FROM_ENVIRONMENT, True, id="odd-project"),
    ],
)
def test_leftovers_are_computed_here_where_workers_cannot(
    project: str | None,
    access: LabelStudioAccess,
    has_worker: bool,
    started: Callable[[Backlog], Backlog],
    predictor: Predictor,
    segmenter: ColourSegmenter,
    queue: JobQueue,
) -> None:
    if has_worker:
        with_worker(queue)
    backlog = started(Backlog(predictor=predictor, queue=queue))

    on_timeout(backlog, request_of(picture("red"), project=project), access)
    finished(backlog)

    assert queued(queue) == []
    assert segmenter.calls == 1


def test_leftovers_are_computed_here_while_redis_is_away(
    started: Callable[[Backlog], Backlog],
    predictor: Predictor,
    segmenter: ColourSegmenter,
) -> None:
    connection = queue_connection("redis://127.0.0.1:1/0")
    backlog = started(
        Backlog(predictor=predictor, queue=JobQueue(connection, "diffsegmenter-a"))
    )

    on_timeout(backlog, request_of(picture("red")), FROM_ENVIRONMENT)
    finished(backlog)

    assert segmenter.calls == 1


def test_new_tasks_get_their_predictions(
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 5)
    backlog = started(Backlog(predictor=predictor, work=work_of(studio, predictor)))

    backlog.pre_annotate(project_id, [*ids, *ids])
    finished(backlog)

    assert_each_once(studio, ids)
    assert backlog.n_waiting == 0


def test_new_tasks_go_to_the_workers_where_there_are_any(
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
    queue: JobQueue,
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 20)
    backlog = started(
        Backlog(
            predictor=predictor,
            queue=with_worker(queue),
            work=work_of(studio, predictor),
        )
    )

    backlog.pre_annotate(project_id, ids)
    finished(backlog)

    chunks = queued(queue)
    assert [task for chunk in chunks for task in chunk.task_ids] == ids
    assert [len(chunk.task_ids) for chunk in chunks] == [16, 4]
    assert all(chunk.stores and chunk.version == MODEL_VERSION for chunk in chunks)
    assert studio.predictions == {}


def test_new_tasks_are_done_here_where_a_queue_has_no_worker(
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
    queue: JobQueue,
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 2)
    work = work_of(studio, predictor)
    backlog = started(Backlog(predictor=predictor, queue=queue, work=work))

    backlog.pre_annotate(project_id, ids)
    finished(backlog)

    assert_each_once(studio, ids)


def test_new_tasks_are_left_alone_without_the_means_to_store(
    predictor: Predictor,
) -> None:
    backlog = Backlog(predictor=predictor)

    backlog.pre_annotate(7, [1, 2])

    assert backlog.n_waiting == 0


@pytest.mark.parametrize("label_config", ["<View/>", "<View><", ""])
def test_a_bad_label_config_is_logged_and_the_thread_lives_on(
    label_config: str,
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = studio.add_project(label_config=label_config), studio.add_project()
    bad_ids, good_ids = studio.add_pictures(bad, 1), studio.add_pictures(good, 1)
    backlog = started(Backlog(predictor=predictor, work=work_of(studio, predictor)))

    with caplog.at_level("INFO"):
        backlog.pre_annotate(bad, bad_ids)
        backlog.pre_annotate(good, good_ids)
        finished(backlog)

    assert_each_once(studio, good_ids)
    assert not studio.versions_of(bad_ids[0])
    assert "Unexpected error" not in caplog.text
    assert any(
        record.levelname == "WARNING" and str(bad) in record.getMessage()
        for record in caplog.records
    )


def test_a_bug_in_one_piece_of_work_is_logged_and_the_thread_lives_on(
    started: Callable[[Backlog], Backlog],
    segmenter: ColourSegmenter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_once(*_: Any) -> ColourSegmenter:
        if not broken:
            broken.append(True)
            raise RuntimeError("nobody thought of this")
        return segmenter

    broken: list[bool] = []
    predictor = make_predictor(segmenter, segmenter=break_once)
    backlog = started(Backlog(predictor=predictor))

    on_timeout(backlog, request_of(picture("red")))
    on_timeout(backlog, request_of(picture("blue"), project="8.1"))
    finished(backlog)

    assert segmenter.calls == 1
    assert "Unexpected error" in caplog.text


def test_a_project_that_is_not_there_costs_a_line_in_the_log(
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backlog = started(Backlog(predictor=predictor, work=work_of(studio, predictor)))

    backlog.pre_annotate(99, [1])
    finished(backlog)

    assert "Background work failed" in caplog.text
    assert "404" in caplog.text


def test_stop_ends_what_is_under_way_after_the_image_at_hand(
    studio: LabelStudioStandIn,
) -> None:
    reached, released = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        reached.set()
        assert released.wait(20)

    predictor = make_predictor(ColourSegmenter(block))
    project_id = studio.add_project()
    ids = studio.add_tasks(
        project_id, *(picture("red", size_yx=(4, 6 + n)) for n in range(40))
    )
    backlog = Backlog(predictor=predictor, work=work_of(studio, predictor))
    backlog.start()
    backlog.pre_annotate(project_id, ids)
    assert reached.wait(20)

    backlog.stop()
    released.set()

    wait_until(lambda: not backlog.n_waiting)
    assert len(studio.predictions) < len(ids)


def backlog_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "backlog"}


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([40], id="of-a-request"),
        pytest.param([1, 1, 1], id="of-the-requests-behind"),
    ],
)
def test_stop_leaves_what_was_not_begun_of_what_is_computed_ahead(
    requests: list[int],
) -> None:
    reached, released = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        reached.set()
        assert released.wait(20)

    segmenter = ColourSegmenter(block)
    backlog = Backlog(predictor=make_predictor(segmenter))
    before = backlog_threads()
    backlog.start()
    for number, n_tasks in enumerate(requests):
        pictures = [picture("red", size_yx=(4, 6 + n)) for n in range(n_tasks)]
        on_timeout(backlog, request_of(*pictures, project=f"{number}.1"))
    (thread,) = backlog_threads() - before
    assert reached.wait(20)

    backlog.stop()
    released.set()

    thread.join(20)
    assert not thread.is_alive()
    # With what had its place at the model already.
    assert segmenter.calls <= min(requests[0], 8)


def test_new_tasks_are_not_taken_without_end(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever reaches the port may send webhooks; nobody may fill the memory."""
    backlog = Backlog(predictor=predictor, work=work_of(studio, predictor))

    for n in range(100):
        backlog.pre_annotate(7, range(n * 15_000, (n + 1) * 15_000))

    assert backlog.n_waiting <= 200_000
    assert "run `diffsegmenter preannotate`" in caplog.text


def test_new_tasks_that_wait_are_not_taken_twice(
    started: Callable[[Backlog], Backlog],
    studio: LabelStudioStandIn,
    predictor: Predictor,
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 3)
    backlog = Backlog(predictor=predictor, work=work_of(studio, predictor))

    for some in (ids[:2], ids[:2], ids):
        backlog.pre_annotate(project_id, some)
    n_waiting = backlog.n_waiting
    started(backlog)
    finished(backlog)

    assert n_waiting == 3
    assert studio.n_requests("POST") == 2
    assert_each_once(studio, ids)
