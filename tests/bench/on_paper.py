"""What runs of millions would take: measured figures, multiplied.

Nothing of such a size has been run. Storing and listing are measured in a project of
20,000 tasks and multiplied by how many such projects there would be; one project of
all of them is a straight line through the sizes that were measured, and beyond what
anybody should do to an SQLite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table

from backend.label_studio import PAGE_SIZE
from tests.bench.label_studio_costs import BULK, Costs

IMAGES: Final = (1_000_000, 100_000_000)
# Measured elsewhere. bench_cache: 5 labels, Redis's overhead among it.
_CACHED_BYTES: Final = 7300
# Stable Diffusion 1.5 in bfloat16 on two cores (bench_cost times bench_settings), and a
# model that is quick.
_MODELS_S: Final = {"Stable Diffusion 1.5, two CPU cores": 2.6, "a quick one": 0.1}
_QUEUE_MEASURED_WITH: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured.

    Attributes:
        queue_bytes: Redis's memory for the jobs of 1 million tasks.
        records_bytes: for the records of what is done.
        costs: Label Studio's, by size of the project and FLAG.
    """

    queue_bytes: float
    records_bytes: float
    costs: Sequence[Costs]


def paper_table(figures: Figures) -> Table:
    """Everything for each number of images."""
    table = Table(
        box=box.MARKDOWN,
        title="On paper: figures from above, multiplied; nothing of this was run",
    )
    table.add_column("")
    for images in IMAGES:
        table.add_column(f"{images // 1_000_000} M images", justify="right")
    for name, cells in _rows(figures):
        table.add_row(name, *cells)
    return table


def _rows(figures: Figures) -> list[tuple[str, list[str]]]:
    per_image = {
        "Redis: jobs, all listed": figures.queue_bytes / _QUEUE_MEASURED_WITH,
        "Redis: record of what is done": figures.records_bytes / _QUEUE_MEASURED_WITH,
        f"Redis: cached maps ({_CACHED_BYTES / 1000:g} kB an image, until its TTL)": (
            _CACHED_BYTES
        ),
    }
    rows = [
        (name, [_size(n * each) for n in IMAGES]) for name, each in per_image.items()
    ]
    rows += [
        (f"model, {name}: {each:g} s an image", [_duration(n * each) for n in IMAGES])
        for name, each in _MODELS_S.items()
    ]
    for has_flag in (False, True):
        own = [costs for costs in figures.costs if costs.has_flag == has_flag]
        large = max(own, key=lambda costs: costs.n_tasks)
        flag = "with the flag" if has_flag else "as it comes"
        name = f"Label Studio {flag}, in projects of {large.n_tasks:,}"
        rows += [
            (
                f"{name}: store, {large.store_s / BULK * 1e3:.1f} ms an image",
                [_duration(n / BULK * large.store_s) for n in IMAGES],
            ),
            (
                f"{name}: store and look twice, {large.bulk_s / BULK * 1e3:.1f} ms",
                [_duration(n / BULK * large.bulk_s) for n in IMAGES],
            ),
            (
                f"{name}: list, {large.page_s:.2f} s per {PAGE_SIZE:,}",
                [_duration(n / PAGE_SIZE * large.page_s) for n in IMAGES],
            ),
        ]
    # With the flag it does not grow with the project, as far as can be measured.
    recounting = [costs for costs in figures.costs if not costs.has_flag]
    rows.append(
        (
            "Label Studio as it comes, one project of all: each bulk (straight line)",
            [f"{_extrapolated_s(recounting, n):,.0f} s" for n in IMAGES],
        )
    )
    return rows


def _extrapolated_s(costs: Sequence[Costs], n_tasks: int) -> float:
    """A bulk's time in a project of so many, on the line through the two sizes."""
    small = min(costs, key=lambda one: one.n_tasks)
    large = max(costs, key=lambda one: one.n_tasks)
    slope = (large.store_s - small.store_s) / (large.n_tasks - small.n_tasks)
    return large.store_s + slope * (n_tasks - large.n_tasks)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h"
