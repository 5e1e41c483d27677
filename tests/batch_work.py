"""Chunks of a stand-in's project, and what doing them reports."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.batch import ChunkRunner
from backend.batch.chunks import Chunk, Report, Unfinished
from backend.inference import Predictor
from tests.fakes import MODEL_VERSION
from tests.label_studio_stand_in import LabelStudioStandIn

NOTHING_LEFT = Unfinished(retry={}, not_started=[])


@dataclass
class Reports:
    """All that was reported, counted: telling twice shows."""

    done: Counter[int] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    n_failures: Counter[int] = field(default_factory=Counter)
    gone: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def __call__(self, report: Report) -> None:
        with self._lock:
            self.done.update(report.done)
            self.failures.update(report.failures)
            self.n_failures.update(list(report.failures))
            self.gone.update(report.gone)

    def assert_done(self, task_ids: Sequence[int]) -> None:
        """Exactly these tasks were reported as done, each once."""
        assert self.done == Counter(task_ids)


def chunk_of(project_id: int, task_ids: Sequence[int], **fields: Any) -> Chunk:
    """A chunk of what `make_predictor` predicts."""
    return Chunk(
        **{
            "project_id": project_id,
            "task_ids": tuple(task_ids),
            "version": MODEL_VERSION,
            **fields,
        }
    )


def work_of(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    *,
    retry_for_s: float = 20,
    stop: threading.Event | None = None,
) -> ChunkRunner:
    """Does chunks of a stand-in's projects."""
    return ChunkRunner(
        predictor=predictor,
        client=studio.client(),
        retry_for_s=retry_for_s,
        stop=stop or threading.Event(),
    )


def assert_each_once(
    studio: LabelStudioStandIn, task_ids: Sequence[int], version: str = MODEL_VERSION
) -> None:
    """Every task holds exactly one prediction, of that version."""
    held = {task_id: studio.versions_of(task_id) for task_id in task_ids}
    assert held == {task_id: [version] for task_id in task_ids}
