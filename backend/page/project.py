"""A project's number in, what is known of it out: runs, corrections, worst tasks.

The same that `preannotate --watch` and `feedback show` tell, from the same records.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import redis

from backend.batch import Progress, RunRecords, alike_failures
from backend.errors import FeedbackUnavailable
from backend.feedback import (
    Correction,
    FeedbackStore,
    ProjectSummary,
    TaughtHeads,
    read_heads,
    summarise,
)
from backend.label_studio import LabelStudioConnections

# Stretches of time that a chart has at most.
_MOST_STRETCHES: Final = 12
_MOST_REASONS: Final = 20
_IDS_SHOWN: Final = 5
_RUNS_WATCHED: Final = 100
# Of a chart, in its own units.
CHART_WIDTH: Final = 120
CHART_HEIGHT: Final = 32
_MARGIN: Final = 3


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Shares over time.

    Attributes:
        values: in [0, 1], oldest first; None where nothing is known of a stretch.
        dots: the same as places in the picture, x and y.
    """

    values: tuple[float | None, ...]

    @property
    def dots(self) -> list[tuple[float, float]]:
        """Places of the known values."""
        step = (CHART_WIDTH - 2 * _MARGIN) / max(1, len(self.values) - 1)
        height = CHART_HEIGHT - 2 * _MARGIN
        return [
            (round(_MARGIN + n * step, 1), round(_MARGIN + (1 - value) * height, 1))
            for n, value in enumerate(self.values)
            if value is not None
        ]

    @property
    def line(self) -> str:
        """The dots, joined."""
        return " ".join(f"{x},{y}" for x, y in self.dots)

    def __str__(self) -> str:
        """In words, for who does not see it."""
        known = [f"{value:.0%}" for value in self.values if value is not None]
        return ", ".join(known) or "not known"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of `preannotate`, as it is now.

    Attributes:
        progress: of it.
        reasons: why tasks were given up: how many, the reason, some of their ids.
        rate: tasks a second since it was looked at first; None where not known.
        seen_s: seconds since then.
    """

    progress: Progress
    reasons: tuple[tuple[int, str, str], ...]
    rate: float | None
    seen_s: float

    @property
    def left_s(self) -> float | None:
        """Seconds until the end, at that rate."""
        return self.progress.missing / self.rate if self.rate else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """What people corrected, and what it taught.

    Attributes:
        summary: of all of it.
        taught: what counts now; None for nothing.
        is_frozen: whether it stays so.
        accepted: by label, share of regions that nobody touched, over time.
        ious: by label, mean IoU of corrected regions, over time.
    """

    summary: ProjectSummary
    taught: TaughtHeads | None
    is_frozen: bool
    accepted: dict[str, Chart]
    ious: dict[str, Chart]


@dataclass(frozen=True, kw_only=True, eq=False)
class Projects:
    """What is known of projects. Any thread may call.

    Attributes:
        connections: who has connected the backend.
        corrections: kept ones; None where nothing is learned.
        runs: of workers; None without Redis.
    """

    connections: LabelStudioConnections
    corrections: FeedbackStore | None = None
    runs: RunRecords | None = None
    _first_seen: OrderedDict[str, tuple[float, int]] = field(
        default_factory=OrderedDict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self) -> list[int]:
        """Numbers of projects that were heard of since the start, or taught."""
        found = set(self.connections.project_numbers())
        if self.corrections is not None:
            with suppress(FeedbackUnavailable):
                found |= {int(p) for p in self.corrections.projects() if p.isdigit()}
        return sorted(found)

    def run(self, project: int) -> Run | str:
        """The project's latest run, or why there is none to show."""
        if self.runs is None:
            return (
                "Runs of workers are shown here, and need REDIS_URL. One that "
                "`preannotate` does itself shows its bar where it was started."
            )
        try:
            run_id = self.runs.current(project)
            progress = None if run_id is None else self.runs.progress(run_id)
            if run_id is None or progress is None:
                return f"No run is known: diffsegmenter preannotate --project {project}"
            failures = self.runs.failures(run_id) if progress.failed else {}
        except redis.RedisError as error:
            return f"Redis cannot be used ({type(error).__name__})."
        groups = alike_failures(failures)[:_MOST_REASONS]
        rate, seen_s = self._rate(run_id, progress)
        return Run(
            progress=progress,
            reasons=tuple((len(ids), reason, _some(ids)) for reason, ids in groups),
            rate=rate,
            seen_s=seen_s,
        )

    def lessons(self, project: int) -> Lessons | str:
        """What was corrected, or why there is nothing to show."""
        if self.corrections is None:
            return "Nothing is learned: LEARNING=off."
        name = str(project)
        try:
            found = self.corrections.corrections(name)
            taught = self.corrections.heads(name)
            is_frozen = self.corrections.is_frozen(name)
        except FeedbackUnavailable as error:
            return str(error)
        if not found and taught is None:
            return (
                f"Nothing is kept of project {project}. Connect the backend's webhook, "
                f"or run `diffsegmenter feedback import --project {project}`."
            )
        summary = summarise(found, read_heads(taught, name))
        stretches = [summarise(some, None) for some in in_stretches(found)]
        labels = [one.label for one in summary.labels]
        return Lessons(
            summary=summary,
            taught=taught,
            is_frozen=is_frozen,
            accepted=_charts(stretches, labels, "accepted_01"),
            ious=_charts(stretches, labels, "corrected_iou_01"),
        )

    def _rate(self, run_id: str, progress: Progress) -> tuple[float | None, float]:
        now = time.monotonic()
        with self._lock:
            first_s, first = self._first_seen.setdefault(run_id, (now, progress.closed))
            while len(self._first_seen) > _RUNS_WATCHED:
                self._first_seen.popitem(last=False)
        n_done, seen_s = progress.closed - first, now - first_s
        return (n_done / seen_s if n_done > 0 else None), seen_s


def in_stretches(corrections: Sequence[Correction]) -> list[list[Correction]]:
    """Corrections by time, in stretches of about as many each."""
    ordered = sorted(corrections, key=lambda one: one.rank)
    n_stretches = min(_MOST_STRETCHES, len(ordered))
    edges = [len(ordered) * n // max(1, n_stretches) for n in range(n_stretches + 1)]
    return [ordered[start:end] for start, end in pairwise(edges)]


def _charts(
    stretches: Sequence[ProjectSummary], labels: Sequence[str], what: str
) -> dict[str, Chart]:
    return {
        label: Chart(
            values=tuple(
                next(
                    (
                        getattr(one.regions, what)
                        for one in stretch.labels
                        if one.label == label
                    ),
                    None,
                )
                for stretch in stretches
            )
        )
        for label in labels
    }


def _some(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:_IDS_SHOWN]))
    return f"{named}, …" if len(ids) > _IDS_SHOWN else named
