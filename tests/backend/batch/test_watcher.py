"""A run that workers do, watched; the workers are told here what they do and when."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.listing import RunSpec
from backend.batch.run_records import Progress, RunRecords
from backend.batch.runs import QueuedRun
from backend.batch.session import RunOutcome, Session
from backend.batch.watcher import RunWatcher
from backend.errors import LabelStudioRefusal, SettingsError
from backend.label_studio.project_tasks import ProjectTasks
from tests.fakes import MODEL_VERSION
from tests.label_studio_stand_in import LabelStudioStandIn

Step = Progress | None | BaseException


@dataclass(frozen=True, kw_only=True, eq=False)
class ScriptedRun(QueuedRun):
    """A run of which whoever watches sees what the test has written down.

    Attributes:
        steps: what is seen; an exception is raised. After the last, what is true.
        lists: whether tasks are listed in truth.
    """

    steps: list[Step]
    lists: bool = True

    def watch(self, run_id: str) -> Iterator[Progress | None]:
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            yield step
            if step is None or step.is_over:
                return
        yield from super().watch(run_id)

    def list_tasks(self, run_id: str, stop: threading.Event) -> None:
        if self.lists:
            super().list_tasks(run_id, stop)


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = queue_connection(redis_url)
    yield client
    client.close()


@pytest.fixture
def session() -> Session:
    """As much of a command's session as watching needs."""
    needed = SimpleNamespace(stop=threading.Event(), version=MODEL_VERSION)
    return cast(Session, needed)


@pytest.fixture
def new_run(
    studio: LabelStudioStandIn, connection: redis.Redis, project_id: int
) -> Callable[..., ScriptedRun]:
    def make(*steps: Step, lists: bool = True) -> ScriptedRun:
        return ScriptedRun(
            queue=JobQueue(connection, "diffsegmenter-jobs-colours-fast-1"),
            records=RunRecords(connection),
            tasks=ProjectTasks(studio.client(), project_id, retry_for_s=0),
            spec=RunSpec(project_id=project_id),
            version=MODEL_VERSION,
            steps=list(steps),
            lists=lists,
        )

    return make


@contextmanager
def working(run: QueuedRun, studio: LabelStudioStandIn) -> Iterator[None]:
    """Something that does the queue's jobs: stores predictions and reports them."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            for job in run.queue.rq.jobs:
                run.queue.rq.remove(job)
                do(job)

    def do(job: Job) -> None:
        chunk = Chunk.from_json(job.kwargs["chunk"])
        for task_id in chunk.task_ids:
            studio.store(task_id, MODEL_VERSION)
        assert chunk.run_id is not None
        run.records.report(chunk.run_id, chunk.places, {})
        run.queue.close(job.id, chunk.run_id)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def watched(
    session: Session, run: ScriptedRun, *, run_id: str | None = None, lists: bool = True
) -> RunOutcome:
    return RunWatcher(session, run, lists=lists).watch(run_id or run.begin())


def progress(done: int, total: int, **fields: Any) -> Progress:
    return Progress(
        version=MODEL_VERSION, scope="all", total=total, done=done, **fields
    )


def over(done: int, total: int) -> Progress:
    return progress(done, total, is_listed=True)


def held(studio: LabelStudioStandIn, task_ids: Sequence[int]) -> list[int]:
    """How many predictions each task has."""
    return [len(studio.versions_of(task_id)) for task_id in task_ids]


def test_tasks_are_listed_while_the_run_is_watched_to_its_end(
    studio: LabelStudioStandIn,
    project_id: int,
    session: Session,
    new_run: Callable[..., ScriptedRun],
) -> None:
    ids = studio.add_pictures(project_id, 40)
    run = new_run()

    with working(run, studio):
        outcome = watched(session, run)

    assert held(studio, ids) == [1] * 40
    assert (outcome.progress.done, outcome.progress.total) == (40, 40)
    assert outcome.progress.is_over
    assert not outcome.is_detached
    assert outcome.failures == {}
    assert outcome.seconds > 0
    assert session.stop.is_set()


def test_what_was_done_before_the_watching_is_told_apart_from_what_failed(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    run = new_run()
    run_id = run.begin()
    run.records.extend(run_id, 5, 0)
    run.records.report(run_id, [0, 1, 2], {17: "no image", 18: "no image"})
    run.records.end_listing(run_id)

    outcome = watched(session, run, run_id=run_id, lists=False)

    assert outcome.done_before == 3
    assert outcome.progress.failed == 2
    assert outcome.failures == {17: "no image", 18: "no image"}


def test_a_refusal_of_label_studio_while_tasks_are_listed_ends_the_watching(
    studio: LabelStudioStandIn,
    project_id: int,
    session: Session,
    new_run: Callable[..., ScriptedRun],
) -> None:
    studio.add_pictures(project_id, 2)
    del studio.projects[project_id]

    with pytest.raises(LabelStudioRefusal):
        watched(session, new_run())

    assert session.stop.is_set()


@pytest.mark.parametrize("n_untold", [0, 2])
def test_what_redis_has_lost_is_listed_anew_and_done_once(
    n_untold: int,
    studio: LabelStudioStandIn,
    project_id: int,
    session: Session,
    new_run: Callable[..., ScriptedRun],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = studio.add_pictures(project_id, 6)
    for task_id in ids[: 2 + n_untold]:
        studio.store(task_id, MODEL_VERSION)
    # Two of six are told to be done; then there is no such run any more.
    run = new_run(progress(2, 6, is_listed=True, open_jobs=1), None)

    with working(run, studio):
        outcome = watched(session, run, run_id="7-gone")

    assert held(studio, ids) == [1] * 6
    assert (outcome.progress.done, outcome.progress.total) == (6, 6)
    assert outcome.done_before == 2
    assert "Redis has lost tasks of this run" in caplog.text


def test_who_only_watches_is_told_that_redis_has_lost_the_run(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    run = new_run(progress(1, 3), None)

    with pytest.raises(SettingsError, match="lost 2 tasks of this run; leave --watch"):
        watched(session, run, run_id="7-gone", lists=False)


def test_a_run_that_is_lost_time_and_again_is_not_begun_for_ever(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    run = new_run(*[over(0, 3)] * 20, lists=False)

    outcome = watched(session, run)

    assert outcome.progress.missing == 3
    assert not outcome.is_detached
    assert 10 < len(run.steps) < 19


def test_a_run_that_gets_on_may_lose_its_jobs_as_often_as_it_likes(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    # Each run is for what is left, does one of them, and is lost.
    steps = [over(1, left) for left in range(12, 0, -1)]

    outcome = watched(session, new_run(*steps, lists=False))

    assert (outcome.progress.done, outcome.progress.total) == (12, 12)


def test_a_run_that_was_called_off_is_not_begun_again(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    run = new_run(progress(1, 9, is_listed=True, is_canceled=True))

    outcome = watched(session, run, lists=False)

    assert outcome.progress.is_canceled
    assert outcome.progress.missing == 8
    assert not outcome.is_detached


def test_a_redis_that_is_away_for_a_moment_is_waited_for(
    session: Session, new_run: Callable[..., ScriptedRun]
) -> None:
    run = new_run(progress(0, 3), redis.ConnectionError("away"), over(3, 3))

    outcome = watched(session, run, lists=False)

    assert outcome.progress.done == 3


@pytest.mark.parametrize(
    ("has_worker", "goes_on"),
    [(True, "The workers go on."), (False, "The tasks wait for a worker.")],
)
def test_who_has_seen_enough_is_told_how_the_run_goes_on(
    has_worker: bool,
    goes_on: str,
    session: Session,
    new_run: Callable[..., ScriptedRun],
    project_id: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = new_run(progress(1, 3, is_listed=True, open_jobs=1), KeyboardInterrupt())
    if has_worker:
        SimpleWorker(
            [run.queue.rq],
            "host.1.ab.x",
            connection=run.queue.rq.connection,
            serializer=JSONSerializer,
        ).register_birth()

    outcome = watched(session, run, lists=False)

    said = capsys.readouterr().err
    assert outcome.is_detached
    assert session.stop.is_set()
    command = f"diffsegmenter preannotate --project {project_id}"
    assert goes_on in said
    assert f"Watch again: {command} --watch; cancel it: {command} --cancel" in said
    assert "Not all tasks are listed yet" not in said


def test_who_leaves_while_tasks_are_listed_is_told_how_to_have_the_rest_done(
    session: Session,
    new_run: Callable[..., ScriptedRun],
    project_id: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = new_run(progress(1, 3, open_jobs=1), KeyboardInterrupt())

    watched(session, run, lists=False)

    said = capsys.readouterr().err
    assert "Not all tasks are listed yet; to include the others, run:" in said


def test_a_connection_that_is_closed_under_the_lister_ends_it_quietly(
    session: Session, new_run: Callable[..., ScriptedRun], monkeypatch: Any
) -> None:
    def close(self: QueuedRun, run_id: str, stop: threading.Event) -> bool:
        stop.set()
        raise ValueError("I/O operation on closed file.")  # as redis-py's parser does

    monkeypatch.setattr(ScriptedRun, "list_tasks", close)
    run = new_run()
    watcher = RunWatcher(session, run, lists=True)
    watcher._to_list.put((run, "a run"))

    watcher._list_tasks()

    assert watcher._broken is None
