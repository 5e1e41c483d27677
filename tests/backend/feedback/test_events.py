import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.feedback.events import Event, UnusableEvent, parse_event
from tests.backend.feedback.annotations import (
    PERSON,
    annotation,
    deleted,
    payload,
    region,
)
from tests.fakes import RED_AND_BLUE

MASK = np.eye(4, 6, dtype=bool)
DATA = {"image": "/data/upload/1/a.png"}


def body(result: Sequence[Any] = (region(MASK),), **changes: Any) -> dict[str, Any]:
    return payload(annotation(result, **changes), config=RED_AND_BLUE, data=DATA)


def test_an_annotation_is_read_with_all_that_teaches() -> None:
    event = parse_event(body(parent_prediction=9))

    assert event is not None
    assert (event.kind, event.project, event.project_key) == (
        *("annotated", "7"),
        "7.1795161600",
    )
    assert (event.task_id, event.annotation, event.parent_prediction) == (5, 31, 9)
    assert (event.lead_time_s, event.label_config) == (12.5, RED_AND_BLUE)
    assert event.data == DATA
    assert event.result[0]["value"] == region(MASK)["value"]


def test_an_event_comes_back_from_its_bytes() -> None:
    for sent in (body(), deleted(1, 2), {**deleted(1), "action": "START_TRAINING"}):
        event = parse_event(sent)

        assert event is not None
        assert Event.from_bytes(event.to_bytes()) == event


def test_nothing_of_the_person_is_in_the_bytes() -> None:
    name, mail, user = PERSON
    remark = {
        **region(MASK),
        "type": "textarea",
        "value": {"text": [f"ask {name}, {mail}"]},
    }
    sent = body(result=[{**region(MASK), "meta": {"text": [user]}}, remark])
    assert all(text in json.dumps(sent) for text in PERSON)

    event = parse_event(sent)

    assert event is not None
    packed = event.to_bytes().decode()
    assert not any(text in packed for text in (*PERSON, "4711"))


def test_run_lengths_take_a_third_of_what_was_sent() -> None:
    rng = np.random.default_rng(1)
    sent = body(result=[region(rng.random((100, 150)) < 0.5)])

    event = parse_event(sent)

    assert event is not None
    assert len(event.to_bytes()) < len(json.dumps(sent)) / 3


@pytest.mark.parametrize("rle", [["a"], [256], [-1], [1.5], [None], "text", {}])
def test_run_lengths_that_are_none_pass_as_they_are(rle: Any) -> None:
    broken = region(MASK)
    broken["value"] = {**broken["value"], "rle": rle}
    event = parse_event(body(result=[broken]))

    assert event is not None
    assert Event.from_bytes(event.to_bytes()).result[0]["value"]["rle"] == rle


def test_a_later_event_of_an_annotation_is_another() -> None:
    first, again, later = (parse_event(body(minute=minute)) for minute in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert later is not None
    assert first.id == again.id != later.id


def test_deletions_are_sorted_and_once() -> None:
    event = parse_event(deleted(3, 1, 3))

    assert event is not None
    assert event.deleted == (1, 3)


@pytest.mark.parametrize(
    "sent",
    [None, [], "ANNOTATION_CREATED", {}, {"action": ["ANNOTATION_CREATED"]}]
    + [{**body(), "action": name} for name in ("TASKS_CREATED", "PROJECT_UPDATED", 7)],
)
def test_other_events_are_none(sent: Any) -> None:
    assert parse_event(sent) is None


@pytest.mark.parametrize(
    "change",
    [
        {"annotation": None},
        {"annotation": {"id": 1}},
        {"annotation": {**annotation([]), "id": True}},
        {"annotation": {**annotation([]), "id": 2**63}},
        {"annotation": {**annotation([]), "updated_at": "yesterday"}},
        {"project": 7},
        {"project": {"id": 7, "label_config": "x" * 1_000_001}},
        {"task": {"id": 5}},
        {"task": None},
        {"action": "ANNOTATIONS_DELETED", "annotations": []},
        {"action": "ANNOTATIONS_DELETED", "annotations": {"id": 1}},
        {"action": "ANNOTATIONS_DELETED", "annotations": [1]},
        {"action": "START_TRAINING", "project": {}},
    ],
)
def test_an_event_that_lacks_what_it_needs_is_refused_in_one_line(
    change: dict[str, Any],
) -> None:
    with pytest.raises(UnusableEvent) as caught:
        parse_event({**body(), **change})

    assert "\n" not in str(caught.value)


anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_whatever_is_sent_is_read_or_refused(data: st.DataObject) -> None:
    sent = body(minute=1)
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(
            st.sampled_from(
                [sent, *(sent[k] for k in sent if isinstance(sent[k], dict))]
            )
        )
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    try:
        event = parse_event(sent)
    except UnusableEvent:
        return
    if event is not None:
        packed = event.to_bytes()
        assert Event.from_bytes(packed).to_bytes() == packed
