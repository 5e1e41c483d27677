"""The control that draws a clicked label, by what annotators see."""

from typing import Any

import pytest

from backend.label_config import ClickTarget, read_label_config
from backend.types import CutOptions
from tests.fakes import defaults_of

DEFAULTS = defaults_of(CutOptions(threshold_01=0.5))
IMAGE = '<Image name="image" value="$image"/>'


def tag(element: str, name: str, labels: str, attributes: str = "") -> str:
    return f'<{element} name="{name}" toName="image" {attributes}>{labels}</{element}>'


def target(
    *tags: str,
    label: str | None = "cat",
    to_name: str = "image",
    data: dict[str, Any] | None = None,
) -> ClickTarget | str:
    config = read_label_config(f"<View>{IMAGE}{''.join(tags)}</View>", DEFAULTS)
    found = data or {"image": "x"}
    return config.click_target(found, from_name="kp", to_name=to_name, label=label)


CAT = '<Label value="cat"/>'
POINTS = tag("KeyPointLabels", "kp", f'{CAT}<Label value="dog"/>', 'smart="true"')


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        pytest.param([("PolygonLabels", "p"), ("BrushLabels", "b")], "b", id="brush"),
        pytest.param(
            [("PolygonLabels", "p"), ("BitmaskLabels", "m")], "m", id="bitmask"
        ),
        pytest.param(
            [("RectangleLabels", "r"), ("PolygonLabels", "p")], "p", id="poly"
        ),
    ],
)
def test_a_brush_draws_before_a_bitmask_before_a_polygon(
    tags: list[tuple[str, str]], name: str
) -> None:
    found = target(POINTS, *(tag(element, own, CAT) for element, own in tags))

    assert isinstance(found, ClickTarget)
    assert found.control.from_name == name


def test_a_control_without_the_label_is_passed_over() -> None:
    found = target(
        POINTS,
        tag("BrushLabels", "b", '<Label value="dog"/>'),
        tag("PolygonLabels", "p", CAT),
    )

    assert isinstance(found, ClickTarget)
    assert found.control.from_name == "p"


def test_labels_are_the_same_by_their_values_whatever_their_aliases() -> None:
    brush = tag(
        "BrushLabels",
        "b",
        '<Label value="dog"/><Label value="cat" alias="c" model_prompt="a kitten"/>',
    )

    by_value = target(POINTS, brush)
    by_alias = target(
        tag("KeyPointLabels", "kp", '<Label value="cat" alias="k"/>'), brush, label="k"
    )

    assert isinstance(by_value, ClickTarget)
    assert isinstance(by_alias, ClickTarget)
    assert by_value.index == by_alias.index == 1
    assert by_value.label.name == "c"
    assert by_value.label.prompts == ("a kitten",)


def test_a_tool_beside_labels_draws_what_was_clicked_with_the_same_labels() -> None:
    labels = tag("Labels", "kp", CAT)
    tools = '<Brush name="b" toName="image"/><KeyPoint name="t" toName="image"/>'

    found = target(labels, tools)

    assert isinstance(found, ClickTarget)
    assert (found.control.from_name, found.control.labels_from_name) == ("b", "kp")


def test_labels_out_of_the_tasks_data_are_found() -> None:
    brush = '<BrushLabels name="b" toName="image" value="$labels"/>'
    data = {"image": "x", "labels": [{"value": "cat", "alias": "c"}]}

    assert isinstance(target(POINTS, brush, data=data, label="c"), ClickTarget)


def test_a_click_without_a_label_is_of_the_only_one() -> None:
    one = target(POINTS, tag("BrushLabels", "b", CAT), label=None)
    two = target(
        POINTS, tag("BrushLabels", "b", CAT + '<Label value="d"/>'), label=None
    )

    assert isinstance(one, ClickTarget)
    assert two == "it was made without a label on 'image'"


@pytest.mark.parametrize(
    ("tags", "label", "to_name"),
    [
        pytest.param([tag("BrushLabels", "b", CAT)], "dog", "image", id="label"),
        pytest.param([tag("BrushLabels", "b", CAT)], "cat", "photo", id="image"),
        pytest.param(
            [tag("RectangleLabels", "b", CAT, 'model_skip="false"')],
            "cat",
            "image",
            id="no-mask",
        ),
    ],
)
def test_what_nothing_draws_is_said(tags: list[str], label: str, to_name: str) -> None:
    found = target(POINTS, *tags, label=label, to_name=to_name)

    assert isinstance(found, str)
    assert f"no brush, bitmask or polygon of {to_name!r}" in found
