"""Annotations in a stand-in's Label Studio in, corrections in a real store out."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import LabelStudioRefusal
from backend.feedback import FeedbackStore, Importer, open_feedback_store
from backend.feedback.events import parse_event
from backend.label_studio import ProjectTasks
from backend.types import LabelStudioAccess
from tests.backend.feedback.annotations import (
    annotation,
    deleted,
    payload,
    region,
)
from tests.backend.feedback.test_learner import OURS, Bench
from tests.fakes import RED_AND_BLUE, picture
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn, Prediction

SIZE_YX = (8, 12)
LABELS = ("red", "blue")
RED = np.zeros(SIZE_YX, bool)
RED[:, :6] = True


class Project:
    """A project of the stand-in, whose webhooks may be sent to a learner."""

    def __init__(self, studio: LabelStudioStandIn, bench: Bench) -> None:
        self.studio, self.bench = studio, bench
        self.number = studio.add_project()
        self.name = str(self.number)
        self.stop = threading.Event()
        self.seen: list[tuple[int, int, int]] = []

    def add_task(self, *colours: str) -> int:
        (task_id,) = self.studio.add_tasks(
            self.number, picture(*(colours or ("red", "blue")), size_yx=SIZE_YX)
        )
        return task_id

    def annotate(
        self, task_id: int, *regions: dict[str, Any], minute: int = 0, **fields: Any
    ) -> int:
        submitted = annotation(regions or [region(RED)], minute=minute, **fields)
        del submitted["id"]
        result = submitted.pop("result")
        return self.studio.annotate(
            task_id, result, **{**submitted, "task": task_id, "project": self.number}
        )

    def webhook(self, annotation_id: int) -> None:
        self.tell(self.payload_of(annotation_id))

    def payload_of(self, annotation_id: int) -> dict[str, Any]:
        """What its webhook tells now."""
        row = dict(self.studio.annotations[annotation_id])
        return payload(
            row,
            config=RED_AND_BLUE,
            data=self.studio.tasks[row["task"]]["data"],
            task_id=row["task"],
            project_id=self.number,
        )

    def tell(self, sent: dict[str, Any]) -> None:
        event = parse_event(sent)
        assert event is not None
        self.bench.learner.work_on(event)

    def import_all(self) -> Any:
        return Importer(
            tasks=ProjectTasks(self.studio.client(), self.number, retry_for_s=0),
            learner=self.bench.learner,
            show=lambda *numbers: self.seen.append(numbers),
            stop=self.stop,
        ).run()

    def state(self) -> Sequence[bytes]:
        return [one.to_bytes() for one in self.bench.store.corrections(self.name)]

    def ids(self) -> list[int]:
        return [one.annotation for one in self.bench.store.corrections(self.name)]


@pytest.fixture
def project(studio: LabelStudioStandIn, store: FeedbackStore) -> Project:
    access = LabelStudioAccess(url=studio.url, token=TOKEN, from_environment=True)
    return Project(studio, Bench(store, access=access))


@pytest.fixture
def in_a_file(studio: LabelStudioStandIn, tmp_path: Path) -> Project:
    """One store, where both would show the same."""
    access = LabelStudioAccess(url=studio.url, token=TOKEN, from_environment=True)
    store = open_feedback_store(None, tmp_path)
    return Project(studio, Bench(store, access=access))


def test_an_import_finds_the_state_that_webhooks_make(project: Project) -> None:
    tasks = [project.add_task(*colours) for colours in (["red"], ["blue", "red"], [])]
    project.studio.predictions[900] = Prediction(
        tasks[0], OURS, [region(RED), region(~RED, "blue", region_id="gone")]
    )
    kept = project.annotate(
        tasks[0], region(RED, origin="prediction"), parent_prediction=900
    )
    changed = project.annotate(tasks[1], region(RED, "blue"), minute=3)
    taken_back = project.annotate(tasks[2])
    second = project.annotate(tasks[2], region(~RED, "blue"), lead_time=None)
    skipped = project.annotate(tasks[1], was_cancelled=True)
    for one in (taken_back, changed, kept, second, skipped, changed):
        project.webhook(one)
    del project.studio.annotations[taken_back]
    project.tell(deleted(taken_back, project_id=project.number))
    by_webhooks = project.state()

    project.bench.store.reset(project.name)
    report = project.import_all()

    assert project.ids() == [kept, changed, second]
    assert project.state() == by_webhooks
    assert (report.n_read, report.n_annotations, report.failures) == (3, 3, {})


def test_an_import_after_webhooks_changes_nothing(project: Project) -> None:
    for minute in range(3):
        project.webhook(project.annotate(project.add_task(), minute=minute))
    before, n_changes = project.state(), len(project.bench.changes)

    assert project.import_all().n_read == 3
    assert project.import_all().n_read == 3

    assert project.state() == before
    assert len(project.bench.changes) == n_changes


def test_an_import_makes_up_for_events_that_were_lost(project: Project) -> None:
    told, lost, gone, dropped, unskipped = (
        project.annotate(project.add_task()) for _ in range(5)
    )
    for one in (told, gone, dropped):
        project.webhook(one)
    project.studio.annotations[told]["updated_at"] = "2026-11-28T22:00:00.000000Z"
    project.studio.annotations[told]["result"] = [region(RED, "blue")]
    del project.studio.annotations[gone]
    project.studio.annotations[dropped] |= {
        "was_cancelled": True,
        "updated_at": "2026-11-28T22:00:00.000000Z",
    }

    report = project.import_all()

    assert project.ids() == [told, lost, unskipped]
    assert project.bench.store.corrections(project.name)[0].outcomes[0].label == "blue"
    assert report.n_forgotten == 1
    # One that is submitted again after all comes back; one that was deleted does not.
    project.studio.annotations[dropped] |= {
        "was_cancelled": False,
        "updated_at": "2026-11-28T22:30:00.000000Z",
    }
    project.import_all()
    assert project.ids() == [told, lost, dropped, unskipped]


def test_of_very_many_the_latest_are_read(
    in_a_file: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.feedback.importing.MOST_CORRECTIONS", 2)
    monkeypatch.setattr("backend.feedback.store.MOST_CORRECTIONS", 2)
    minutes = (4, 9, 1, 7)
    ids = [in_a_file.annotate(in_a_file.add_task(), minute=m) for m in minutes]

    report = in_a_file.import_all()

    assert in_a_file.ids() == [ids[1], ids[3]]
    assert (report.n_read, report.n_annotations) == (2, 4)
    assert in_a_file.bench.segmenter.calls == 2


def test_pages_of_any_size_are_read_whole(
    in_a_file: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.feedback.importing._TASKS_AT_ONCE", 2)
    in_a_file.studio.most_per_page = 3
    ids = [in_a_file.annotate(in_a_file.add_task()) for _ in range(8)]

    in_a_file.import_all()

    assert in_a_file.ids() == ids
    assert in_a_file.seen[-1] == (8, 0, 8)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda row, task: row.update(updated_at="yesterday"), id="annotation"
        ),
        pytest.param(
            lambda row, task: task["data"].update(image="/data/upload/1/gone.png"),
            id="image",
        ),
    ],
)
def test_what_cannot_be_read_costs_itself_alone(
    spoil: Callable[[Any, Any], None], in_a_file: Project
) -> None:
    tasks = [in_a_file.add_task() for _ in range(3)]
    ids = [in_a_file.annotate(task) for task in tasks]
    spoil(
        in_a_file.studio.annotations[ids[1]],
        in_a_file.studio.tasks[tasks[1]],
    )

    report = in_a_file.import_all()

    whole = [
        one.annotation
        for one in in_a_file.bench.store.corrections(in_a_file.name)
        if not one.is_pending
    ]
    assert whole == [ids[0], ids[2]]
    assert report.failures.keys() == {tasks[1]}
    assert in_a_file.seen[-1][0] <= 3


def test_a_task_that_is_refused_costs_itself_alone(in_a_file: Project) -> None:
    tasks = [in_a_file.add_task() for _ in range(2)]
    ids = [in_a_file.annotate(task) for task in tasks]
    path = f"tasks/{tasks[0]}/annotations"
    in_a_file.studio.answer(400, path_part=path, times=2)

    report = in_a_file.import_all()

    assert in_a_file.ids() == [ids[1]]
    assert "400" in report.failures[tasks[0]]


def test_whoever_is_not_let_in_hears_it(in_a_file: Project) -> None:
    in_a_file.annotate(in_a_file.add_task())
    in_a_file.studio.answer(403, path_part="annotations")

    with pytest.raises(LabelStudioRefusal, match="403"):
        in_a_file.import_all()


def test_an_import_that_is_stopped_goes_on_where_it_was(in_a_file: Project) -> None:
    ids = [
        in_a_file.annotate(in_a_file.add_task(*["red"] * n, "blue")) for n in (1, 2, 3)
    ]
    in_a_file.bench.segmenter.before = lambda pixels: in_a_file.stop.set()

    report = in_a_file.import_all()

    assert report.is_stopped
    assert in_a_file.ids() == ids[:1]
    in_a_file.stop.clear()
    in_a_file.bench.segmenter.before = lambda pixels: None
    assert not in_a_file.import_all().is_stopped
    assert in_a_file.ids() == ids
    assert in_a_file.bench.segmenter.calls == 3


@given(data=st.data())
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_webhooks_came_or_were_lost_an_import_ends_in_one_state(
    data: st.DataObject, studio: LabelStudioStandIn
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        access = LabelStudioAccess(url=studio.url, token=TOKEN, from_environment=True)
        store = open_feedback_store(None, Path(folder))
        project = Project(studio, Bench(store, access=access))
        tasks = [project.add_task(*colours) for colours in (["red"], ["blue", "red"])]
        told: list[Callable[[], None]] = []
        ids: list[int] = []
        for minute in range(data.draw(st.integers(1, 6))):
            what = data.draw(st.sampled_from(["create", "update", "skip", "delete"]))
            one = data.draw(st.sampled_from(ids)) if ids else None
            row = None if one is None else studio.annotations.get(one)
            if what == "create" or one is None or row is None:
                task = data.draw(st.sampled_from(tasks))
                ids.append(project.annotate(task, minute=minute))
                sent = project.payload_of(ids[-1])
            elif what == "delete":
                del studio.annotations[one]
                sent = deleted(one, project_id=project.number)
            else:
                studio.annotations[one] = row | {
                    "updated_at": f"2026-11-28T21:{minute:02d}:30.500000Z",
                    "was_cancelled": what == "skip",
                    "result": [region(RED, data.draw(st.sampled_from(LABELS)))],
                }
                sent = project.payload_of(one)
            told += [lambda sent=sent: project.tell(sent)] * data.draw(
                st.integers(0, 2)
            )
        for tell in data.draw(st.permutations(told)):
            tell()

        project.import_all()
        after_webhooks = project.state()
        store.reset(project.name)
        project.import_all()

        assert after_webhooks == project.state()
        assert project.ids() == sorted(
            one
            for one in ids
            if one in studio.annotations
            and not studio.annotations[one]["was_cancelled"]
        )
        store.close()
