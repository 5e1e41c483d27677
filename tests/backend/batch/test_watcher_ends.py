"""How watching ends, or goes on, when the run is not what it was at the beginning."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import redis

from backend.batch import RunOutcome, RunWatcher, Session
from backend.batch.chunks import Chunk
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.listing import RunSpec
from backend.batch.run_records import Progress, RunRecords
from backend.batch.runs import QueuedRun
from backend.batch.worker import ChunkWorker, WorkerContext
from backend.errors import SettingsError
from backend.label_studio import ProjectTasks
from tests.fakes import MODEL_VERSION
from tests.label_studio_stand_in import LabelStudioStandIn
from tests.redis_server import running_redis

NEWER = "diffsegmenter-colours-newer"

NewRun = Callable[..., QueuedRun]


@dataclass
class FakeSession:
    """As much of a command's session as watching needs."""

    version: str = MODEL_VERSION
    now: str = MODEL_VERSION
    stop: threading.Event = field(default_factory=threading.Event)

    def current_version(self) -> str:
        return self.now


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

    def make(
        kind: type[QueuedRun] = QueuedRun,
        client: redis.Redis = connection,
        **spec: Any,
    ) -> QueuedRun:
        return kind(
            queue=JobQueue(client, "diffsegmenter-jobs-colours-fast-1"),
            records=RunRecords(client),
            tasks=ProjectTasks(studio.client(), project_id, retry_for_s=0),
            spec=RunSpec(project_id=project_id, **spec),
            version=MODEL_VERSION,
        )

    return make


@contextmanager
def working(
    run: QueuedRun, studio: LabelStudioStandIn, *, gives: str = MODEL_VERSION
) -> Iterator[list[int]]:
    """Something that does the queue's jobs; yields the ids of tasks that it was given.

    Args:
        run: whose queue.
        studio: where predictions are stored.
        gives: the version that the label config gives; runs for others are ended.
    """
    stop = threading.Event()
    given: list[int] = []

    def work() -> None:
        while not stop.wait(0.02):
            for job in run.queue.rq.jobs:
                run.queue.rq.remove(job)
                chunk = Chunk.from_json(job.kwargs["chunk"])
                do(chunk)
                run.queue.close(job.id, chunk.run_id)

    def do(chunk: Chunk) -> None:
        assert chunk.run_id is not None
        if chunk.version != gives:
            run.records.end_for_newer(chunk.run_id, gives)
            return
        given.extend(chunk.task_ids)
        for task_id in chunk.task_ids:
            studio.store(task_id, chunk.version)
        run.records.report(chunk.run_id, chunk.places, {})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield given
    finally:
        stop.set()
        thread.join()


def watched(
    run: QueuedRun, session: FakeSession | None = None, *, lists: bool = True
) -> RunOutcome:
    watcher = RunWatcher(cast(Session, session or FakeSession()), run, lists=lists)
    return watcher.watch(run.begin())


def test_two_commands_at_once_list_and_count_every_task_once(
    studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    ids = studio.add_pictures(project_id, 40)
    studio.most_per_page = 10
    runs = [new_run(), new_run()]
    outcomes: list[RunOutcome] = []
    threads = [
        threading.Thread(target=lambda run=run: outcomes.append(watched(run)))
        for run in runs
    ]

    with working(new_run(), studio) as given:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(given) == ids
    totals = [(outcome.progress.done, outcome.progress.total) for outcome in outcomes]
    assert totals == [(40, 40), (40, 40)]


def test_a_limit_is_kept_when_redis_loses_its_data(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    ids = studio.add_pictures(project_id, 50)
    lost = threading.Event()

    @dataclass(frozen=True, kw_only=True, eq=False)
    class Losing(QueuedRun):
        def watch(self, run_id: str) -> Iterator[Progress | None]:
            for seen in super().watch(run_id):
                yield seen
                if seen is not None and seen.is_listed and not lost.is_set():
                    lost.set()
                    connection.flushall()
                    for task_id in ids[:3]:
                        studio.store(task_id, MODEL_VERSION)

    losing = new_run(Losing, limit=20)
    outcomes: list[RunOutcome] = []
    watching = threading.Thread(target=lambda: outcomes.append(watched(losing)))
    watching.start()
    assert lost.wait(20)
    with working(losing, studio) as given:
        watching.join()

    (outcome,) = outcomes
    assert sorted(given) == ids[3:20]
    assert (outcome.progress.done, outcome.progress.total) == (20, 20)


def test_a_listing_of_tasks_that_are_done_is_not_counted_twice_after_a_loss(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    connection: redis.Redis,
) -> None:
    studio.add_pictures(project_id, 5)
    seen: list[Progress] = []

    @dataclass(frozen=True, kw_only=True, eq=False)
    class Losing(QueuedRun):
        def watch(self, run_id: str) -> Iterator[Progress | None]:
            progress = self.records.progress(run_id)
            if not seen and progress is not None:
                seen.append(progress)
                yield progress
                connection.flushall()
            yield from super().watch(run_id)

    run = new_run(Losing, replaces=True)
    run_id = run.begin()
    run.list_tasks(run_id, threading.Event())
    run.records.report(run_id, [0, 1], {})

    with working(run, studio):
        outcome = watched(run)

    assert (outcome.progress.done, outcome.progress.total) == (5, 5)


def test_who_leaves_while_redis_is_away_is_not_told_so_by_an_error(
    studio: LabelStudioStandIn, new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_redis() as server:
        client = queue_connection(server.url)

        @dataclass(frozen=True, kw_only=True, eq=False)
        class Leaving(QueuedRun):
            def watch(self, run_id: str) -> Iterator[Progress | None]:
                server.stop()
                raise KeyboardInterrupt
                yield

        outcome = watched(new_run(Leaving, client), lists=False)
        client.close()

    assert outcome.is_detached
    assert "Watch again" in capsys.readouterr().err


def test_a_changed_label_config_is_listed_again_for_its_version(
    studio: LabelStudioStandIn,
    project_id: int,
    new_run: NewRun,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = studio.add_pictures(project_id, 40)
    for task_id in ids[:10]:
        studio.store(task_id, MODEL_VERSION)
    session = FakeSession(now=NEWER)
    run = new_run()

    with working(run, studio, gives=NEWER) as given:
        outcome = watched(run, session)

    assert sorted(given) == ids
    assert outcome.progress.version == NEWER
    assert (outcome.progress.done, outcome.progress.total) == (40, 40)
    assert outcome.failures == {}
    assert f"listing again, for {NEWER}" in caplog.text


def test_workers_that_never_give_the_commands_version_end_it_with_one_sentence(
    studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    studio.add_pictures(project_id, 3)
    run = new_run()

    with (
        working(run, studio, gives="diffsegmenter-colours-another"),
        pytest.raises(SettingsError, match="Workers give diffsegmenter-colours-anoth"),
    ):
        watched(run)

    assert studio.predictions == {}


@pytest.mark.parametrize("is_followed", [False, True])
def test_who_only_watches_follows_to_the_newer_run_where_there_is_one(
    is_followed: bool, studio: LabelStudioStandIn, project_id: int, new_run: NewRun
) -> None:
    studio.add_pictures(project_id, 2)
    run = new_run()
    run_id = run.begin()
    run.records.end_for_newer(run_id, NEWER)
    if is_followed:
        newer = run.records.begin(project_id, NEWER, run.spec.scope)
        run.records.extend(newer, 1, 0)
        run.records.report(newer, [0], {})
        run.records.end_listing(newer)

    watcher = RunWatcher(cast(Session, FakeSession()), run, lists=False)
    outcome = watcher.watch(run_id)

    assert outcome.progress.version == (NEWER if is_followed else MODEL_VERSION)
    assert outcome.progress.newer_version == ("" if is_followed else NEWER)
    assert outcome.progress.done == (1 if is_followed else 0)


def test_a_line_says_when_jobs_are_tried_again_and_who_lists(
    new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Progress(version=MODEL_VERSION, total=2, open_jobs=1, lister="another")

    @dataclass(frozen=True, kw_only=True, eq=False)
    class Waiting(QueuedRun):
        def watch(self, run_id: str) -> Iterator[Progress | None]:
            job = Chunk(project_id=1, task_ids=(1,), version=MODEL_VERSION)
            self.queue.add([job], delay_s=160)
            with running_worker(self.queue):
                while "of 2 tasks" not in (said := capsys.readouterr().err):
                    yield seen
                    time.sleep(0.1)
            lines.append(said)
            raise KeyboardInterrupt

    lines: list[str] = []
    outcome = watched(new_run(Waiting), lists=True)

    assert outcome.is_detached
    assert re.search(r"1 job waiting to retry, next try in 1[56]\d s", lines[0])
    assert "another process lists the tasks; still listing" in lines[0]


@contextmanager
def running_worker(queue: JobQueue) -> Iterator[None]:
    """One that is there and does nothing."""
    context = WorkerContext(work=None, queue=queue, records=None)  # type: ignore[arg-type]
    worker = ChunkWorker(context, "host.1.aa.bb")
    worker.register_birth()
    try:
        yield
    finally:
        worker.register_death()
