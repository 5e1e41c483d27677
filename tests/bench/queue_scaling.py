"""What more workers bring."""

import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich import box
from rich.table import Table

from backend.batch import RunRecords, queue_connection
from tests.bench.process_usage import cpu_s_of_session
from tests.bench.queue_rig import Rig, running_workers
from tests.e2e.batches import Batch, finished
from tests.redis_server import running_redis

WORKERS: Final = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class _Paced:
    """A run by some workers.

    Attributes:
        rate: pictures per second.
        label_studio_cores: cores that Label Studio kept busy.
        worker_cores: cores that each worker did.
    """

    n_workers: int
    sleep_s: float
    n_tasks: int
    rate: float
    label_studio_cores: float
    worker_cores: float


def scaling_table(rig: Rig, sleep_s: float, pictures: int) -> Table:
    runs = [_paced(rig, n, sleep_s, n * pictures) for n in WORKERS]
    runs.append(_paced(rig, WORKERS[-1], 0, WORKERS[-1] * pictures))
    table = Table(
        box=box.MARKDOWN,
        title=f"Workers with a model of {sleep_s} s a picture, {os.cpu_count()} cores",
    )
    for name in (
        "workers",
        "s a picture",
        "pictures",
        "pictures/s",
        "x workers x one's rate",
        "x workers x the model's own rate",
        "cores: Label Studio",
        "cores: each worker",
    ):
        table.add_column(name, justify="right")
    for run in runs:
        efficiency, of_model = "", ""
        if run.sleep_s:
            efficiency = f"{run.rate / run.n_workers / runs[0].rate:.2f}"
            of_model = f"{run.rate / run.n_workers * run.sleep_s:.2f}"
        table.add_row(
            str(run.n_workers),
            f"{run.sleep_s:g}",
            str(run.n_tasks),
            f"{run.rate:.1f}",
            efficiency,
            of_model,
            f"{run.label_studio_cores:.2f}",
            f"{run.worker_cores:.2f}",
        )
    table.caption = (
        "Label Studio is one process of Python: near 1 core it is the limit itself; "
        "where all cores together are busy, the machine is."
    )
    return table


def _paced(rig: Rig, n_workers: int, sleep_s: float, n_tasks: int) -> _Paced:
    with running_redis() as redis:
        batch = rig.new_batch(redis, n_tasks)
        with running_workers(rig, batch, n_workers, sleep_s) as workers:
            cores = _Cores([rig.pid, *workers], batch, n_tasks)
            finished(batch.start())
            label_studio, *each = cores.used()
    batch.assert_each_once()
    times = sorted(
        datetime.fromisoformat(row["created_at"]) for row in batch.predictions()
    )
    first, last = times[0], times[-1]
    # Label Studio gives rows of one bulk times that are milliseconds apart.
    n_later = sum((at - first).total_seconds() > 0.02 for at in times)
    return _Paced(
        n_workers=n_workers,
        sleep_s=sleep_s,
        n_tasks=n_tasks,
        rate=n_later / (last - first).total_seconds(),
        label_studio_cores=label_studio,
        worker_cores=sum(each) / len(each),
    )


class _Cores:
    """CPU that processes use while a run is at work, and not as it begins and ends."""

    def __init__(self, leaders: list[int], batch: Batch, n_tasks: int) -> None:
        self._leaders = leaders
        self._looks: list[tuple[float, list[float]]] = []
        self._records_of = batch
        self._n_tasks = n_tasks
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def used(self) -> list[float]:
        """Cores that each kept busy between a tenth of the tasks and nine tenths."""
        self._over.set()
        self._thread.join()
        (began, before), (ended, after) = self._looks[0], self._looks[-1]
        return [(b - a) / (ended - began) for a, b in zip(before, after, strict=True)]

    def _look(self) -> None:
        url = self._records_of.environment["REDIS_URL"]
        with closing(queue_connection(url)) as connection:
            records = RunRecords(connection)
            while not self._over.wait(0.1):
                run_id = records.current(self._records_of.project_id)
                progress = run_id and records.progress(run_id)
                share = progress.done / self._n_tasks if progress else 0
                if 0.1 < share < 0.9 or (self._looks and share < 0.9):
                    spent = [cpu_s_of_session(leader) for leader in self._leaders]
                    self._looks.append((time.monotonic(), spent))
