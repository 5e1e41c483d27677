"""Label Studio's strict validation, without the milliseconds of its run lengths."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import control_tags

from backend.label_config import LabelConfig, read_label_config
from backend.types import CutOptions
from tests.fakes import brush_config, defaults_of

CONFIG = read_label_config(
    brush_config('<Label value="red"/>'), defaults_of(CutOptions(threshold_01=0.5))
)


def prediction(rle: Any, **region: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": rle, "brushlabels": ["red"]}
    about = {"from_name": "tag", "to_name": "image", "type": "brushlabels"}
    return {"score": 0.5, "result": [{"id": "a", "value": value, **about, **region}]}


def sdk_says(config: LabelConfig, answer: Any) -> list[str]:
    found: list[str] = config._interface.validate_prediction(answer, return_errors=True)
    return found


@settings(deadline=None)
@given(
    rle=st.lists(st.integers(-2, 258) | st.booleans())
    | st.lists(st.floats() | st.text() | st.none(), max_size=3)
    | st.none()
    | st.text()
    | st.dictionaries(st.integers(0, 9), st.integers(0, 9))
)
def test_problems_are_those_that_the_sdk_finds_in_any_run_lengths(rle: Any) -> None:
    answer = prediction(rle)

    assert bool(CONFIG.problems(answer)) == bool(sdk_says(CONFIG, answer))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"from_name": "nobody"}, id="from"),
        pytest.param({"to_name": "nothing"}, id="to"),
        pytest.param({"type": "polygonlabels"}, id="type"),
        pytest.param({"value": None}, id="no-value"),
        pytest.param({"value": {"rle": [1], "brushlabels": ["blue"]}}, id="label"),
        pytest.param({"value": {"rle": [1]}}, id="no-label"),
        pytest.param({"value": {"rle": [300], "brushlabels": ["red"]}}, id="no-byte"),
        pytest.param({"value": {"rle": [], "brushlabels": ["red"]}}, id="empty"),
    ],
)
def test_problems_beside_the_run_lengths_are_found(wrong: dict[str, Any]) -> None:
    answer = prediction([1, 2, 3], **wrong)

    assert CONFIG.problems(answer) == sdk_says(CONFIG, answer) != []


def test_run_lengths_are_not_left_to_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    judge = control_tags.validate_rle
    monkeypatch.setattr(
        control_tags, "validate_rle", lambda rle: seen.append(len(rle)) or judge(rle)
    )

    assert CONFIG.problems(prediction([1, 2, 3])) == []
    assert sdk_says(CONFIG, prediction([1, 2, 3])) == []

    assert seen == [1, 3]
