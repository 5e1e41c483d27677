"""From corrections to what counts: versions, leases, freezing, forgetting."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import pytest

from backend.errors import FeedbackUnavailable
from backend.feedback import (
    Correction,
    FeedbackStore,
    TaughtHeads,
    TaughtProjects,
    Teacher,
    teaching,
)
from segmenter import Heads, blank_labels, make_example
from tests.fakes import ColourSegmenter, MemoryCache, striped

MODEL: Final = "colours:fast"
_SIZE_YX: Final = (16, 24)
_SCENES: Final = (
    ("red", "green"),
    ("red", "blue"),
    ("green", "blue"),
    ("white", "blue"),
    ("green", "white"),
    ("white", "red"),
    ("black", "green"),
    ("black", "blue"),
)


def correction(number: int, *, model: str = MODEL, project: str = "7") -> Correction:
    """A task in which what is green was painted as zork."""
    pixels = striped(*_SCENES[number % len(_SCENES)], size_yx=_SIZE_YX)
    (maps,) = ColourSegmenter().score([pixels], [["red"]])
    green = (pixels == (0, 255, 0)).all(axis=2)
    example = make_example(blank_labels(maps, ["zork"]), {"zork": green})
    return Correction(
        project=project,
        task=str(number),
        annotation=number + 1,
        updated_at="2026-11-28T21:00:00Z",
        examples=(example.to_bytes(),),
        model=model,
    )


def teacher_of(store: FeedbackStore, **fields: Any) -> Teacher:
    given = {"leases": MemoryCache(), "models": {MODEL}, "learn_after": 0} | fields
    return Teacher(store=store, **given)


def fill(store: FeedbackStore, count: int = 8, **fields: Any) -> None:
    for number in range(count):
        store.put(correction(number, **fields))


def weight_01(taught: TaughtHeads | None, label: str = "zork") -> float:
    if taught is None:
        return 0.0
    heads = Heads.from_bytes(taught.data)
    return max((h.weight_01 for h in heads.labels if h.label == label), default=0.0)


def test_what_was_corrected_counts_once_it_is_taught(store: FeedbackStore) -> None:
    fill(store)
    lookup = TaughtProjects(store)

    taught = teacher_of(store).teach("7")

    assert taught is not None
    assert (taught.version, taught.n_corrections, taught.model) == (1, 8, MODEL)
    assert weight_01(taught) > 0
    found = lookup("7.1795346673")
    assert found is not None
    assert found.heads.to_bytes() == taught.data
    assert found.maps_name == MODEL
    assert lookup("8") is None
    assert lookup(None) is None


def test_the_same_corrections_make_no_new_version(store: FeedbackStore) -> None:
    fill(store)
    teacher = teacher_of(store)
    first = teacher.teach("7")

    second = teacher.teach("7")

    assert first is not None
    assert second is not None
    assert (second.version, second.data) == (1, first.data)


def test_two_at_once_make_one_version(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    fitting, most = [0], [0]
    lock = threading.Lock()
    fit = teaching.fit_heads

    def watched(examples: Any) -> Heads:
        with lock:
            fitting[0] += 1
            most[0] = max(most[0], fitting[0])
        try:
            return fit(examples)
        finally:
            with lock:
                fitting[0] -= 1

    monkeypatch.setattr(teaching, "fit_heads", watched)
    leases = MemoryCache()
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(lambda _: teacher_of(store, leases=leases).teach("7"), range(2))
        )

    assert most == [1]
    assert [one.version for one in found if one is not None] == [1, 1]


def test_a_correction_that_is_taken_back_is_unlearned(store: FeedbackStore) -> None:
    fill(store, 6)
    teacher = teacher_of(store)
    before = teacher.teach("7")
    store.put(correction(6))
    teacher.teach("7")

    store.forget("7", [7])
    after = teacher.teach("7")

    assert before is not None
    assert after is not None
    assert after.data == before.data
    assert after.version == 3


def test_without_any_correction_left_words_alone_count(store: FeedbackStore) -> None:
    fill(store)
    teacher = teacher_of(store)
    teacher.teach("7")

    store.forget("7", list(range(1, 9)))
    teacher.teach("7")

    assert TaughtProjects(store)("7") is None


def test_what_gains_nothing_is_no_version(store: FeedbackStore) -> None:
    store.put(replace(correction(1), examples=()))

    taught = teacher_of(store).teach("7")

    assert taught is not None
    assert taught.version == 0
    assert TaughtProjects(store)("7") is None


def test_a_project_without_corrections_is_left_alone(store: FeedbackStore) -> None:
    assert teacher_of(store).teach("7") is None
    assert store.projects() == []


def test_a_frozen_project_learns_nothing_until_it_is_let(store: FeedbackStore) -> None:
    fill(store)
    teacher = teacher_of(store, learn_after=1)
    store.freeze("7", True)

    assert teacher.teach("7") is None
    teacher.note_change("7")
    assert store.heads("7") is None

    store.freeze("7", False)
    taught = teacher.teach("7")
    assert taught is not None
    assert taught.version == 1


def test_heads_are_fitted_after_so_many_changes(store: FeedbackStore) -> None:
    teacher = teacher_of(store, learn_after=4)
    versions = []

    for number in range(8):
        store.put(correction(number))
        teacher.note_change("7")
        taught = store.heads("7")
        versions.append(None if taught is None else taught.n_corrections)

    assert versions == [None, None, None, 4, 4, 4, 4, 8]


def test_zero_learns_on_start_training_alone(store: FeedbackStore) -> None:
    teacher = teacher_of(store, learn_after=0)

    for number in range(8):
        store.put(correction(number))
        teacher.note_change("7")

    assert store.heads("7") is None


def test_what_another_model_read_is_not_learned_from(store: FeedbackStore) -> None:
    for number in range(4):
        store.put(correction(number, model="of old weights"))
    for number in range(4, 8):
        store.put(correction(number))

    taught = teacher_of(store).teach("7")
    only_new = teacher_of(store, models={"of nobody"}).teach("7")

    assert taught is not None
    (zork,) = [h for h in Heads.from_bytes(taught.data).labels if h.label == "zork"]
    assert zork.n_positive + zork.n_negative == 4
    assert weight_01(only_new) == 0


def test_a_damaged_example_costs_that_one_alone(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, 7)
    store.put(replace(correction(7), examples=(b"damaged",)))

    taught = teacher_of(store).teach("7")

    assert weight_01(taught) > 0
    assert "annotation 8 is left out" in caplog.text


def test_heads_that_cannot_be_read_are_left_out_and_made_anew(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store)
    store.put_heads(
        "7",
        TaughtHeads(
            version=4, data=b"of another form", n_corrections=1, made_at="", model=MODEL
        ),
    )

    assert TaughtProjects(store)("7") is None
    assert "unreadable heads" in caplog.text
    taught = teacher_of(store).teach("7")
    assert taught is not None
    assert taught.version == 5
    assert TaughtProjects(store)("7") is not None


class _AwayStore:
    """A store whose heads can be had, or not."""

    def __init__(self) -> None:
        self.taught: TaughtHeads | None = None
        self.is_away = False
        self.asked = 0

    def heads(self, project: str) -> TaughtHeads | None:
        self.asked += 1
        if self.is_away:
            raise FeedbackUnavailable("Redis cannot be used.")
        return self.taught


def test_a_store_that_goes_away_leaves_what_was_known_last(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store)
    now = [100.0]
    away = _AwayStore()
    away.taught = teacher_of(store).teach("7")
    lookup = TaughtProjects(away, clock=lambda: now[0])  # type: ignore[arg-type]
    before = lookup("7")

    away.is_away = True
    during = []
    for _ in range(20):
        now[0] += 3
        during += [lookup("7"), lookup("8")]

    assert before is not None
    assert during == [before, None] * 20
    assert caplog.text.count("cannot be used") == 1
    # Not each request waits for a timeout.
    assert away.asked <= 10

    away.is_away = False
    away.taught = None
    now[0] += 11
    assert lookup("7") is None


def test_the_store_is_asked_once_in_a_while(store: FeedbackStore) -> None:
    now = [100.0]
    watched = _AwayStore()
    lookup = TaughtProjects(watched, clock=lambda: now[0])  # type: ignore[arg-type]

    for _ in range(100):
        lookup("7")
        now[0] += 0.01

    assert watched.asked == 1
    now[0] += 2
    lookup("7")
    assert watched.asked == 2
