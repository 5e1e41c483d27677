"""What a picture costs beside the model: in a loop, in a job, through the queue."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from statistics import median
from time import perf_counter
from typing import Final

from rich import box
from rich.table import Table

from backend.batch import (
    ChunkRunner,
    JobQueue,
    LocalRun,
    QueuedRun,
    RunRecords,
    RunSpec,
    queue_connection,
)
from backend.batch.chunks import Chunk
from backend.engine import Engine, build_engine
from backend.label_studio import LabelStudioClient, ProjectTasks, parse_predict
from backend.settings import Settings
from tests.bench.queue_rig import Rig
from tests.e2e.batches import Batch, picture
from tests.fakes import RED_AND_BLUE, ColourSegmenter
from tests.redis_server import running_redis

ROUNDS: Final = 3
LARGEST_JOB: Final = 128
_LOOK_S: Final = 0.02


def overhead_table(rig: Rig, n_tasks: int) -> Table:
    ways: Mapping[str, Callable[[Rig, int], float]] = {
        "predicted in a loop, one task at a time; not stored": _loop,
        f"one job of {LARGEST_JOB} in this process, stored": _one_job,
        "`preannotate --here`: two jobs at a time, stored": _here,
        "by one worker through the queue, stored": _by_a_worker,
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            spent[name].append(way(rig, n_tasks))
    each = {name: median(values) * 1e3 for name, values in spent.items()}
    table = Table(
        box=box.MARKDOWN,
        title=f"{n_tasks} pictures of 32 x 24, a model that takes no time",
    )
    table.add_column("")
    table.add_column("ms a picture", justify="right")
    table.add_column("of the rounds", justify="right")
    for name, value in each.items():
        rounds = " / ".join(f"{one * 1e3:.1f}" for one in spent[name])
        table.add_row(name, f"{value:.1f}", rounds)
    _, _, here, queued = each.values()
    table.add_row("the queue itself: the last less `--here`", f"{queued - here:.1f}")
    return table


@contextmanager
def _parts(batch: Batch) -> Iterator[tuple[Settings, Engine, LabelStudioClient]]:
    """What a worker is made of, here."""
    settings = Settings.from_env(batch.environment)
    engine = build_engine(settings, load=ColourSegmenter)
    yield settings, engine, LabelStudioClient(settings.label_studio)
    engine.cache.close()


def _loop(rig: Rig, n_tasks: int) -> float:
    with running_redis() as redis:
        batch = rig.new_batch(redis, 1)
        tasks = [
            {"id": number, "data": {"image": picture(number)}}
            for number in range(n_tasks)
        ]
        with _parts(batch) as (settings, engine, _):
            start = perf_counter()
            for task in tasks:
                body = {"tasks": [task], "label_config": RED_AND_BLUE}
                (answer,) = engine.predictor.predict(
                    parse_predict(body), settings.label_studio
                )
                assert answer
            return (perf_counter() - start) / n_tasks


def _one_job(rig: Rig, n_tasks: int) -> float:
    with running_redis() as redis:
        batch = rig.new_batch(redis, LARGEST_JOB)
        with _parts(batch) as (_, engine, client):
            work = ChunkRunner(predictor=engine.predictor, client=client)
            chunk = Chunk(
                project_id=batch.project_id,
                task_ids=tuple(task["id"] for task in rig.api.tasks(batch.project_id)),
                version=engine.predictor.model_version(RED_AND_BLUE),
            )
            start = perf_counter()
            unfinished = work.run(chunk, lambda report: None)
            spent_s = perf_counter() - start
        assert not unfinished.retry
        batch.assert_each_once()
    return spent_s / LARGEST_JOB


def _here(rig: Rig, n_tasks: int) -> float:
    with running_redis() as redis:
        batch = rig.new_batch(redis, n_tasks)
        with _parts(batch) as (_, engine, client):
            run = LocalRun(
                work=ChunkRunner(predictor=engine.predictor, client=client),
                tasks=ProjectTasks(client, batch.project_id, retry_for_s=0),
                spec=RunSpec(project_id=batch.project_id),
                version=engine.predictor.model_version(RED_AND_BLUE),
                show=lambda progress: None,
            )
            start = perf_counter()
            run.run()
            spent_s = perf_counter() - start
        batch.assert_each_once()
    return spent_s / n_tasks


def _by_a_worker(rig: Rig, n_tasks: int) -> float:
    with running_redis() as redis:
        batch = rig.new_batch(redis, n_tasks)
        with (
            rig.worker(batch, 1, 0),
            _parts(batch) as (_, engine, client),
            closing(queue_connection(redis.url)) as connection,
        ):
            run = QueuedRun(
                queue=JobQueue(connection, engine.predictor.queue_name),
                records=RunRecords(connection),
                tasks=ProjectTasks(client, batch.project_id, retry_for_s=0),
                spec=RunSpec(project_id=batch.project_id),
                version=engine.predictor.model_version(RED_AND_BLUE),
            )
            start = perf_counter()
            run_id = run.begin()
            run.list_tasks(run_id, threading.Event())
            _wait_until_over(run.records, run_id)
            spent_s = perf_counter() - start
        batch.assert_each_once()
    return spent_s / n_tasks


def _wait_until_over(records: RunRecords, run_id: str) -> None:
    while not (progress := records.progress(run_id)) or not progress.is_over:
        time.sleep(_LOOK_S)
