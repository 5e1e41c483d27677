"""Questions of the editor, as it sends them and as nobody would."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.label_studio import parse_predict
from backend.label_studio.clicks import PointPrompt, parse_clicks
from tests.clicking import box, point, task_with

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "result",
                    "id",
                    "type",
                    "value",
                    "x",
                    "y",
                    "labels",
                    "origin",
                    "drafts",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def parsed(*results: Any, task: Any = None) -> Any:
    return parse_clicks({"result": list(results)}, task)


def test_points_and_boxes_by_hand_are_read_oldest_first() -> None:
    clicks = parsed(
        point(4, 15, name="a"),
        point(8, 30, name="b", is_positive=False),
    )

    assert clicks.points == (
        PointPrompt(x_percent=25, y_percent=10, is_positive=True),
        PointPrompt(x_percent=50, y_percent=20, is_positive=False),
    )
    assert (clicks.from_name, clicks.to_name) == ("kp", "image")
    assert (clicks.label, clicks.item_index) == ("red", 0)
    assert clicks.ids == {"a", "b"}
    assert clicks.box is None


def test_the_newest_box_decides() -> None:
    clicks = parsed(box((0, 0, 4, 6), name="a"), box((4, 6, 20, 30), rotation=30))

    assert clicks.points == ()
    assert clicks.box == {"x": 10, "y": 10, "width": 40, "height": 40, "rotation": 30}


def test_of_more_clicks_than_a_person_makes_the_newest_count() -> None:
    clicks = parsed(*(point(1, number / 10, name=str(number)) for number in range(500)))

    assert len(clicks.points) == 100
    assert clicks.points[-1].x_percent == pytest.approx(100 * 49.9 / 60)


def test_a_click_without_its_sign_is_positive() -> None:
    unsigned = point(4, 15)
    del unsigned["is_positive"]

    assert parsed(unsigned).points[0].is_positive


def test_what_nobody_drew_by_hand_is_no_question() -> None:
    assert parsed(box((0, 0, 4, 6), origin="prediction", score=0.5)) is None


def test_a_pre_annotated_box_beside_a_drawn_one_is_left_out() -> None:
    theirs = box((0, 0, 9, 9), name="a", origin="prediction")

    clicks = parsed(theirs, box((4, 6, 20, 30), name="b"))

    assert clicks.ids == {"b"}


def test_a_key_point_that_bears_a_mask_is_no_click() -> None:
    """With a label that stays selected, accepted masks get such a result."""
    value = {"format": "rle", "rle": [0], "keypointlabels": ["red"]}

    assert parsed(point(1, 1, value=value)) is None


def test_prompts_of_another_label_or_page_than_the_newest_are_left_out() -> None:
    clicks = parsed(
        point(4, 15, "blue", name="a"),
        point(4, 15, name="b"),
        point(8, 30, name="c", item_index=1),
        point(8, 30, name="d", to_name="other"),
        point(12, 30, name="e"),
    )

    assert clicks.ids == {"b", "e"}


def test_the_label_of_a_tool_beside_labels_is_found() -> None:
    tool = point(4, 15, type="keypoint", from_name="tool")
    del tool["value"]["keypointlabels"], tool["value"]["labels"]
    labels = {**tool, "type": "labels", "from_name": "names"}
    labels["value"] = tool["value"] | {"labels": ["red"]}

    clicks = parsed(tool, labels)

    assert (clicks.from_name, clicks.label) == ("names", "red")
    assert len(clicks.points) == 1
    assert parsed(tool).label is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="none"),
        pytest.param([], id="list"),
        pytest.param({"x": "1", "y": 1}, id="text"),
        pytest.param({"x": True, "y": 1}, id="bool"),
        pytest.param({"x": float("nan"), "y": 1}, id="nan"),
        pytest.param({"x": float("inf"), "y": 1}, id="infinite"),
        pytest.param({"x": 10**400, "y": 1}, id="huge"),
        pytest.param({"x": -1, "y": 1}, id="left-of-it"),
        pytest.param({"x": 1, "y": 101}, id="below-it"),
        pytest.param({"x": 1}, id="no-y"),
    ],
)
def test_a_click_that_is_nowhere_is_left_out(value: Any) -> None:
    assert parsed(point(1, 1, value=value)) is None
    assert len(parsed(point(1, 1, value=value), point(4, 15, name="q")).points) == 1


def test_the_draft_is_what_is_seen_before_the_annotation_and_the_prediction() -> None:
    brush = [{"id": "r", "type": "brushlabels"}]

    def seen(**stored: Any) -> Any:
        return parsed(point(4, 15), task=task_with(**stored))

    drafted = seen(draft=brush, annotation=[], prediction=[])
    assert drafted.seen == brush
    assert drafted.user == "a@example.com"
    assert seen(annotation=brush, prediction=[]).seen == brush
    assert seen(annotation=brush).state != seen(prediction=brush).state
    assert seen(prediction=brush).seen == brush
    assert seen(draft=[], prediction=brush).seen == []


def test_of_several_that_are_stored_the_last_is_seen() -> None:
    old = {"id": 9, "updated_at": "2026-01-01T00:00:00Z", "result": []}
    new = {"id": 2, "updated_at": "2026-02-01T00:00:00Z", "result": [{"id": "new"}]}
    cancelled = {**new, "updated_at": "2027", "result": [], "was_cancelled": True}

    task = {"drafts": [old], "annotations": [cancelled, new]}

    assert parsed(point(4, 15), task=task).seen == [{"id": "new"}]


def test_the_state_changes_with_each_time_of_storing() -> None:
    first = parsed(point(4, 15), task=task_with(draft=[], stored_at="1"))
    second = parsed(point(4, 15), task=task_with(draft=[], stored_at="2"))

    assert first.state != second.state


def test_parse_predict_tells_clicks_and_a_prewarming_from_other_questions() -> None:
    def asked(context: Any) -> Any:
        body = {"tasks": [task_with()], "label_config": "<View/>"}
        return parse_predict({**body, "params": {"context": context}})

    assert asked({"result": [point(1, 1)]}).clicks is not None
    assert asked({"event": "prewarm", "result": []}).is_prewarm
    assert not asked({"result": [point(1, 1)]}).is_prewarm
    assert asked(None).clicks is None


@given(context=JSON, task=JSON)
def test_whatever_the_context_holds_reading_it_raises_nothing(
    context: Any, task: Any
) -> None:
    parse_clicks(context, task)


@given(value=JSON, label=JSON, page=JSON, rows=JSON)
def test_whatever_a_click_holds_reading_it_raises_nothing(
    value: Any, label: Any, page: Any, rows: Any
) -> None:
    odd = point(4, 15, id=label, item_index=page, value=value, to_name=rows)
    named = point(4, 15, item_index=page)
    named["value"]["keypointlabels"] = [label]

    parse_clicks(
        {"result": [odd, named, rows]},
        {"drafts": [{"result": rows, "updated_at": label}], "predictions": rows},
    )
