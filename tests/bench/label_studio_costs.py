"""What Label Studio takes for the requests that pre-annotation makes of it.

Projects of several sizes in one Label Studio, SQLite below; each request as
`backend.label_studio.project_tasks` makes it, one at a time, with nothing else going
on there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from rich import box
from rich.table import Table

from backend.label_studio import (
    PAGE_SIZE,
    LabelStudioClient,
    ProjectTasks,
    parse_predict,
)
from backend.types import LabelStudioAccess
from tests.e2e.label_studio import LabelStudio, label_studio_process
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.fakes import RED_AND_BLUE, ColourSegmenter, make_predictor, picture

BULK: Final = 64
FLAG: Final = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
_IMPORT_AT_ONCE: Final = 5000
_ROUNDS: Final = 5
_PICTURE_SIZE_YX: Final = (480, 640)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that requests take in a project of some size.

    Attributes:
        n_tasks: the project's size.
        has_flag: whether Label Studio runs with FLAG.
        store_s: of BULK predictions.
        look_s: at what BULK tasks hold, which is done before and after.
        page_s: of a page of PAGE_SIZE ids of tasks that lack a prediction.
    """

    n_tasks: int
    has_flag: bool
    store_s: float
    look_s: float
    page_s: float

    @property
    def bulk_s(self) -> float:
        """Of a bulk with the looks before and after."""
        return self.store_s + 2 * self.look_s


def measure_costs(
    server: LabelStudio, sizes: tuple[int, ...], *, log_path: Path
) -> list[Costs]:
    """Costs in projects of these sizes, without FLAG and with it."""
    found: list[Costs] = []
    for environment in ({}, {FLAG: "true"}):
        with (
            label_studio_process(server, log_path=log_path, environment=environment),
            api_with_legacy_token(server.url, server.legacy_token) as api,
        ):
            # New ones each time: what is stored already changes how long lists take.
            for n_tasks in sizes:
                project_id = _new_project(api, n_tasks)
                has_flag = bool(environment)
                found.append(_costs(server, project_id, n_tasks, has_flag=has_flag))
    return found


def costs_table(found: list[Costs]) -> Table:
    """All that was measured."""
    table = Table(
        box=box.MARKDOWN,
        title=f"Label Studio, seconds a request ({BULK} predictions of two brush "
        f"regions in {_PICTURE_SIZE_YX[1]} x {_PICTURE_SIZE_YX[0]} pixels, "
        f"{len(json.dumps(_result())):,} bytes of JSON each)",
    )
    table.add_column("tasks in the project", justify="right")
    table.add_column("recounts")
    for name in (f"store {BULK}", f"look at {BULK}", f"list {PAGE_SIZE}"):
        table.add_column(name, justify="right")
    for costs in found:
        table.add_row(
            f"{costs.n_tasks:,}",
            "only the tasks concerned (flag)" if costs.has_flag else "all tasks",
            f"{costs.store_s:.3f}",
            f"{costs.look_s:.3f}",
            f"{costs.page_s:.3f}",
        )
    return table


def _new_project(api: LabelStudioApi, n_tasks: int) -> int:
    project_id = api.create_project(f"{n_tasks} tasks", RED_AND_BLUE)
    for start in range(0, n_tasks, _IMPORT_AT_ONCE):
        numbers = range(start, min(start + _IMPORT_AT_ONCE, n_tasks))
        addresses = [f"https://images.example/{number}.jpg" for number in numbers]
        api.import_many(project_id, [{"image": address} for address in addresses])
    return project_id


def _costs(
    server: LabelStudio, project_id: int, n_tasks: int, *, has_flag: bool
) -> Costs:
    access = LabelStudioAccess(
        url=server.url, token=server.legacy_token, from_environment=True
    )
    client = LabelStudioClient(access)
    tasks = ProjectTasks(client, project_id, retry_for_s=0)
    version = "diffsegmenter-bench"
    page = tasks.tasks_without(version)
    ids = iter(page.task_ids)
    bulks = [[next(ids) for _ in range(BULK)] for _ in range(_ROUNDS)]
    result = _result()
    rows = iter(
        [{**result, "task": task_id, "model_version": version} for task_id in bulk]
        for bulk in bulks
    )
    return Costs(
        n_tasks=n_tasks,
        has_flag=has_flag,
        page_s=_median_s(lambda: tasks.tasks_without(version)),
        store_s=_median_s(lambda: tasks.store(next(rows))),
        look_s=_median_s(lambda: tasks.prediction_summaries(bulks[0], version)),
    )


def _median_s(use: Callable[[], Any]) -> float:
    def seconds() -> Iterator[float]:
        for _ in range(_ROUNDS):
            start = perf_counter()
            use()
            yield perf_counter() - start

    return median(seconds())


def _result() -> Mapping[str, Any]:
    """A prediction with two regions."""
    address = picture("red", "blue", size_yx=_PICTURE_SIZE_YX)
    body = {
        "tasks": [{"id": 1, "data": {"image": address}}],
        "label_config": RED_AND_BLUE,
    }
    predictor = make_predictor(ColourSegmenter())
    answer = predictor.predict(parse_predict(body), LabelStudioAccess(url=None))[0]
    assert isinstance(answer, dict)
    return answer
