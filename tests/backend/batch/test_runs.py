import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis

from backend.batch.chunks import MAX_ATTEMPTS, Chunk
from backend.batch.duplicates import deduplicate, deduplicate_project
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.listing import RunSpec, TaskPage, find_tasks, job_size
from backend.batch.run_records import Progress, RunRecords
from backend.batch.runs import LocalRun, QueuedRun
from backend.errors import LabelStudioUnavailable
from backend.inference import Predictor
from backend.label_studio import PAGE_SIZE, ProjectTasks
from tests.batch_work import assert_each_once, work_of
from tests.clock import no_longer_than
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    Pixels,
    brush_config,
    make_predictor,
    picture,
)
from tests.label_studio_stand_in import LabelStudioStandIn

OLDER = "diffsegmenter-colours-older"


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def tasks(studio: LabelStudioStandIn, project_id: int) -> ProjectTasks:
    return ProjectTasks(studio.client(), project_id, retry_for_s=0)


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = queue_connection(redis_url)
    yield client
    client.close()


@pytest.fixture
def new_run(connection: redis.Redis, tasks: ProjectTasks) -> Callable[..., QueuedRun]:
    def make(*, version: str = MODEL_VERSION, **spec: Any) -> QueuedRun:
        return QueuedRun(
            queue=JobQueue(connection, "diffsegmenter-colours-fast-1"),
            records=RunRecords(connection),
            tasks=tasks,
            spec=RunSpec(project_id=tasks.project_id, **spec),
            version=version,
        )

    return make


def ids_found(pages: Iterator[TaskPage]) -> list[int]:
    return [task_id for page in pages for task_id in page.task_ids]


def queued(run: QueuedRun) -> list[Chunk]:
    return [Chunk.from_json(job.kwargs["chunk"]) for job in run.queue.rq.jobs]


def known(run: QueuedRun, run_id: str) -> Progress:
    progress = run.records.progress(run_id)
    assert progress is not None
    return progress


def test_find_tasks_finds_all_that_lack_the_version_and_counts_down(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 5)
    studio.store(ids[1], MODEL_VERSION)
    studio.most_per_page = 3

    pages = list(find_tasks(tasks, RunSpec(project_id=project_id), MODEL_VERSION))

    assert pages == [
        TaskPage(task_ids=(ids[0], ids[2], ids[3]), n_remaining=4, listed_to=ids[3]),
        TaskPage(task_ids=(ids[4],), n_remaining=1, listed_to=ids[4]),
    ]


def test_find_tasks_begins_after_an_id(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 4)
    spec = RunSpec(project_id=project_id)

    assert ids_found(find_tasks(tasks, spec, MODEL_VERSION, after_id=ids[1])) == ids[2:]


def test_find_tasks_that_replaces_finds_done_tasks_as_well(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.store(ids[0], MODEL_VERSION)
    spec = RunSpec(project_id=project_id, replaces=True)

    assert ids_found(find_tasks(tasks, spec, MODEL_VERSION)) == ids


def test_find_tasks_of_a_tab_keeps_its_order(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 4)
    view_id = studio.add_tab(project_id, ids[:0:-1])
    spec = RunSpec(project_id=project_id, view_id=view_id)

    assert ids_found(find_tasks(tasks, spec, MODEL_VERSION)) == ids[:0:-1]


def test_find_tasks_finds_a_named_task_once_and_asks_nothing(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    spec = RunSpec(project_id=project_id, task_ids=(9, 7, 9, 8))

    assert ids_found(find_tasks(tasks, spec, MODEL_VERSION)) == [9, 7, 8]
    assert studio.seen == []


def test_find_tasks_gives_named_tasks_in_pages(tasks: ProjectTasks) -> None:
    ids = tuple(range(1, 2 * PAGE_SIZE + 2))
    spec = RunSpec(project_id=1, task_ids=ids)

    pages = list(find_tasks(tasks, spec, MODEL_VERSION))

    assert [(len(p.task_ids), p.n_remaining) for p in pages] == [
        (PAGE_SIZE, 2 * PAGE_SIZE + 1),
        (PAGE_SIZE, PAGE_SIZE + 1),
        (1, 1),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 50])
@pytest.mark.parametrize("named", [False, True], ids=["all", "named"])
def test_find_tasks_finds_no_more_than_the_limit(
    limit: int,
    named: bool,
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    ids = studio.add_pictures(project_id, 6)
    studio.most_per_page = 2
    spec = RunSpec(
        project_id=project_id, limit=limit, task_ids=tuple(ids) if named else None
    )

    pages = list(find_tasks(tasks, spec, MODEL_VERSION))

    assert ids_found(iter(pages)) == ids[:limit]
    assert pages[0].n_remaining == min(limit, 6)


@pytest.mark.parametrize("limit", [0, -3])
def test_find_tasks_finds_nothing_where_the_limit_is_used_up(
    limit: int, studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.add_pictures(project_id, 2)
    spec = RunSpec(project_id=project_id, limit=limit)

    assert list(find_tasks(tasks, spec, MODEL_VERSION)) == []
    assert studio.seen == []


@pytest.mark.parametrize(
    ("n_tasks", "size"),
    [(0, 16), (1, 16), (3200, 16), (10_000, 50), (25_600, 128), (10**6, 128)],
)
def test_job_size_grows_with_the_run_between_two_bounds(
    n_tasks: int, size: int
) -> None:
    assert job_size(n_tasks) == size


def test_scope_differs_where_tasks_do() -> None:
    specs = [
        RunSpec(project_id=1),
        RunSpec(project_id=1, view_id=3),
        RunSpec(project_id=1, task_ids=(1, 2)),
        RunSpec(project_id=1, task_ids=(12,)),
        RunSpec(project_id=1, limit=3),
        RunSpec(project_id=1, replaces=True),
    ]

    assert len({spec.scope for spec in specs}) == len(specs)


def test_list_tasks_queues_every_task_once_with_its_place(
    studio: LabelStudioStandIn, project_id: int, new_run: Callable[..., QueuedRun]
) -> None:
    ids = studio.add_pictures(project_id, 40)
    studio.most_per_page = 25
    run = new_run(replaces=True)
    run_id = run.begin()

    run.list_tasks(run_id, threading.Event())

    chunks = queued(run)
    assert [len(chunk.task_ids) for chunk in chunks] == [16, 9, 15]
    assert [task for chunk in chunks for task in chunk.task_ids] == ids
    assert [at for chunk in chunks for at in chunk.places] == list(range(40))
    assert all(chunk.replaces and chunk.run_id == run_id for chunk in chunks)
    progress = known(run, run_id)
    assert (progress.total, progress.open_jobs, progress.is_listed) == (40, 3, True)


def test_list_tasks_goes_on_where_it_stopped(
    studio: LabelStudioStandIn, project_id: int, new_run: Callable[..., QueuedRun]
) -> None:
    ids = studio.add_pictures(project_id, 10)
    studio.most_per_page = 4
    run = new_run()
    run_id = run.begin()
    stop = threading.Event()
    stop.set()

    run.list_tasks(run_id, stop)
    first = known(run, run_id)
    studio.answer(503)
    with pytest.raises(LabelStudioUnavailable):
        run.list_tasks(run_id, threading.Event())
    run.list_tasks(run_id, threading.Event())
    run.list_tasks(run_id, threading.Event())

    assert (first.total, first.is_listed) == (4, False)
    assert [task for chunk in queued(run) for task in chunk.task_ids] == ids
    assert known(run, run_id).total == 10
    assert known(run, run_id).is_listed


def test_list_tasks_keeps_to_the_limit_when_it_goes_on(
    studio: LabelStudioStandIn, project_id: int, new_run: Callable[..., QueuedRun]
) -> None:
    ids = studio.add_pictures(project_id, 10)
    studio.most_per_page = 4
    run = new_run(limit=6)
    run_id = run.begin()
    stop = threading.Event()
    stop.set()

    run.list_tasks(run_id, stop)
    run.list_tasks(run_id, threading.Event())

    assert [task for chunk in queued(run) for task in chunk.task_ids] == ids[:6]


def test_list_tasks_of_a_run_that_redis_forgot_queues_nothing(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: Callable[..., QueuedRun],
    connection: redis.Redis,
) -> None:
    studio.add_pictures(project_id, 1)
    run = new_run()
    run_id = run.begin()
    connection.flushall()

    run.list_tasks(run_id, threading.Event())

    assert queued(run) == []


def test_begin_goes_on_with_a_run_for_the_same(
    new_run: Callable[..., QueuedRun],
) -> None:
    assert new_run().begin() == new_run().begin()


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"limit": 3}, id="limit"),
        pytest.param({"replaces": True}, id="replaces"),
        pytest.param({"task_ids": (1,)}, id="tasks"),
        pytest.param({"version": "v2"}, id="version"),
    ],
)
def test_begin_begins_anew_for_something_else(
    other: dict[str, Any], new_run: Callable[..., QueuedRun]
) -> None:
    first = new_run().begin()

    assert new_run(**other).begin() != first


def test_begin_begins_anew_when_the_run_is_over_or_was_called_off(
    new_run: Callable[..., QueuedRun],
) -> None:
    run = new_run()
    first = run.begin()
    run.records.end_listing(first)
    second = run.begin()
    run.cancel(second)

    assert len({first, second, run.begin()}) == 3


def test_begin_begins_a_tabs_listing_anew_that_was_cut_short(
    new_run: Callable[..., QueuedRun], connection: redis.Redis
) -> None:
    run = new_run(view_id=4)
    first = run.begin()
    connection.sadd(f"diffsegmenter:run:{first}:jobs", "job")
    second = run.begin()
    run.records.end_listing(second)
    connection.sadd(f"diffsegmenter:run:{second}:jobs", "job")

    assert first != second
    assert run.begin() == second


def test_watch_ends_when_the_run_is_over(
    new_run: Callable[..., QueuedRun],
) -> None:
    run = new_run()
    run_id = run.begin()
    watching = run.watch(run_id)
    before = next(watching)
    run.records.end_listing(run_id)

    rest = list(watching)

    assert before is not None
    assert not before.is_over
    assert [seen is not None and seen.is_over for seen in rest] == [True]


def test_watch_lets_a_run_go_that_is_over_and_no_other(
    new_run: Callable[..., QueuedRun], connection: redis.Redis
) -> None:
    run = new_run()
    run_id = run.begin()
    watching = run.watch(run_id)
    next(watching)
    while_it_lasts = connection.ttl(f"diffsegmenter:run:{run_id}")
    run.records.end_listing(run_id)

    list(watching)

    assert while_it_lasts == -1
    assert connection.ttl(f"diffsegmenter:run:{run_id}") > 0


def test_watch_ends_with_none_when_redis_forgot_the_run(
    new_run: Callable[..., QueuedRun], connection: redis.Redis
) -> None:
    run = new_run()
    run_id = run.begin()
    connection.flushall()

    assert list(run.watch(run_id)) == [None]


def test_cancel_takes_waiting_jobs_out_of_the_queue(
    studio: LabelStudioStandIn, project_id: int, new_run: Callable[..., QueuedRun]
) -> None:
    studio.add_pictures(project_id, 20)
    run = new_run()
    run_id = run.begin()
    run.list_tasks(run_id, threading.Event())

    run.cancel(run_id)

    assert queued(run) == []
    assert known(run, run_id).is_over


def local_run(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    tasks: ProjectTasks,
    *,
    stop: threading.Event | None = None,
    retry_for_s: float = 20,
    **fields: Any,
) -> tuple[LocalRun, list[Progress]]:
    shown: list[Progress] = []
    run = LocalRun(
        work=work_of(studio, predictor, stop=stop, retry_for_s=retry_for_s),
        tasks=tasks,
        spec=RunSpec(project_id=tasks.project_id),
        version=MODEL_VERSION,
        show=shown.append,
        **fields,
    )
    return run, shown


def test_local_run_does_all_and_shows_how_far_it_is(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    ids = studio.add_pictures(project_id, 40)
    studio.store(ids[3], MODEL_VERSION)
    run, shown = local_run(studio, predictor, tasks)

    run.run()

    assert_each_once(studio, ids)
    assert run.progress == Progress(
        version=MODEL_VERSION, total=39, done=39, is_listed=True
    )
    assert shown[-1] == run.progress
    done = [progress.done for progress in shown]
    assert done == sorted(done)


def test_local_run_of_nothing_is_over_at_once(
    studio: LabelStudioStandIn, predictor: Predictor, tasks: ProjectTasks
) -> None:
    run, _ = local_run(studio, predictor, tasks)

    with no_longer_than(10):
        run.run()

    assert run.progress.is_over
    assert run.progress.total == 0


def test_local_run_tries_again_what_may_pass(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_tasks(project_id, picture("red"), picture("blue"))
    left = [2]

    def fail_twice(pixels: Pixels) -> None:
        if pixels[0, 0, 0] and left[0]:
            left[0] -= 1
            raise RuntimeError("the GPU is full")

    predictor = make_predictor(ColourSegmenter(fail_twice))
    paused: list[int] = []
    run, _ = local_run(studio, predictor, tasks, pause_s=pausing(paused))

    run.run()

    assert_each_once(studio, ids)
    assert run.failures == {}
    assert run.progress.done == 2
    assert paused == [1, 2]


def test_local_run_gives_up_what_fails_every_time(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    bad, good = studio.add_tasks(project_id, picture("red"), picture("blue"))

    def fail(pixels: Pixels) -> None:
        if pixels[0, 0, 0]:
            raise RuntimeError("the GPU is full")

    predictor = make_predictor(ColourSegmenter(fail))
    run, _ = local_run(studio, predictor, tasks, pause_s=pausing([]))

    run.run()

    assert run.failures == {bad: f"the GPU is full (Tried {MAX_ATTEMPTS} times.)"}
    assert (run.progress.done, run.progress.failed) == (1, 1)
    assert studio.versions_of(good) == [MODEL_VERSION]


def test_local_run_that_is_stopped_leaves_the_rest(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_tasks(
        project_id, *(picture("red", size_yx=(4, 6 + n)) for n in range(40))
    )
    stop = threading.Event()
    predictor = make_predictor(ColourSegmenter(lambda pixels: stop.set()))
    run, _ = local_run(studio, predictor, tasks, stop=stop)

    run.run()

    stored = [task_id for task_id in ids if studio.versions_of(task_id)]
    assert 0 < len(stored) < len(ids)
    assert run.progress.done == len(stored)
    assert run.progress.missing == len(ids) - len(stored)
    assert run.failures == {}


def test_local_run_counts_no_task_twice_when_others_store_through_an_outage(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    first, *_ = ids = studio.add_pictures(project_id, 5)
    predictor = make_predictor(
        ColourSegmenter(
            lambda pixels: (
                None
                if studio.versions_of(first)
                else studio.store(first, MODEL_VERSION)  # type: ignore[func-returns-value]
            )
        )
    )
    studio.answer(503, method="POST", times=2)
    run, _ = local_run(studio, predictor, tasks)

    run.run()

    assert_each_once(studio, ids)
    assert run.progress.done == 5


def test_local_run_shows_when_it_tries_again(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    studio.add_tasks(project_id, picture("red"))
    left = [1]

    def fail_once(pixels: Pixels) -> None:
        if left.pop() if left else 0:
            raise RuntimeError("the GPU is full")

    predictor = make_predictor(ColourSegmenter(fail_once))
    run, shown = local_run(studio, predictor, tasks, pause_s=lambda tries: 1.5)

    run.run()

    waits = [seen.retry_in_s for seen in shown if seen.retry_in_s is not None]
    assert 1 < waits[0] <= 1.5
    assert 0 < waits[1] <= 0.5
    assert shown[-1].retry_in_s is None
    assert run.progress.done == 1


def test_local_run_begins_again_for_a_changed_label_config(
    studio: LabelStudioStandIn,
    tasks: ProjectTasks,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = studio.add_pictures(project_id, 40)
    config = brush_config('<Label value="red"/>')

    def change_config(pixels: Pixels) -> None:
        studio.projects[project_id].label_config = config

    predictor = make_predictor(
        ColourSegmenter(change_config), version_of=lambda print: f"v-{print[:8]}"
    )
    run, _ = local_run(studio, predictor, tasks)
    run.version = predictor.model_version(RED_AND_BLUE)

    run.run()

    newer = predictor.model_version(config)
    assert [studio.versions_of(task_id).count(newer) for task_id in ids] == [1] * 40
    assert run.progress == Progress(version=newer, total=40, done=40, is_listed=True)
    assert run.failures == {}
    assert f"listing again, for {newer}" in caplog.text


def test_local_run_counts_deleted_tasks_apart(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    tasks: ProjectTasks,
    project_id: int,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.before(
        "GET",
        lambda: studio.remove_task(ids[1]),
        path_part=f"/api/projects/{project_id}",
    )
    run, _ = local_run(studio, predictor, tasks)

    run.run()

    assert run.failures == {}
    assert (run.progress.done, run.progress.gone, run.progress.missing) == (2, 1, 0)


def pausing(tries: list[int]) -> Callable[[int], float]:
    """No pause, and a note of what it was asked for."""

    def pause_s(n: int) -> float:
        tries.append(n)
        return 0.0

    return pause_s


@pytest.mark.parametrize("replaces", [False, True])
def test_deduplicate_has_a_wrong_count_mended_and_removes_nothing(
    replaces: bool, studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    stale, theirs, right = ids = studio.add_pictures(project_id, 3)
    for task_id in ids:
        studio.store(task_id, MODEL_VERSION)
    studio.store(theirs, "yolo-8")
    studio.miscounted = {stale: 2, theirs: 3}

    n_removed = deduplicate(
        tasks,
        MODEL_VERSION,
        tasks.prediction_summaries(ids, MODEL_VERSION),
        replaces=replaces,
    )

    assert n_removed == 0
    assert studio.miscounted == {}
    assert studio.n_requests("PATCH") == 2
    assert studio.versions_of(right) == studio.versions_of(stale) == [MODEL_VERSION]


def test_remove_doubles_leaves_the_oldest_of_the_version_and_all_of_others(
    studio: LabelStudioStandIn, tasks: ProjectTasks, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 5)
    kept: dict[int, Sequence[int]] = {}
    for task_id in ids:
        first = studio.store(task_id, MODEL_VERSION)
        kept[task_id] = [first, studio.store(task_id, OLDER)]
    for task_id in (*ids[:3], *ids[:2]):
        studio.store(task_id, MODEL_VERSION)
    studio.most_per_page = 2

    n_removed = deduplicate_project(tasks, MODEL_VERSION)

    assert n_removed == 5
    assert {task: list(studio.predictions_of(task)) for task in ids} == kept
    assert deduplicate_project(tasks, MODEL_VERSION) == 0
