"""Whole requests against a segmenter of colours, with the real image fetcher.

Pictures come as data: URIs or from a real server on this machine.
"""

import json

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.inference.predictor import Predictor
from tests.asking import FADING, PICTURE, ask, ask_one, mask_of, names_of
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    brush_config,
    data_uri,
    encoded,
    make_predictor,
    picture,
)


def test_predict_paints_every_label_where_it_is(predictor: Predictor) -> None:
    regions = ask_one(predictor, PICTURE, RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    expected = np.zeros((2, 4, 6), bool)
    expected[0, :, :2] = expected[1, :, 2:4] = True
    np.testing.assert_array_equal([mask_of(region) for region in regions], expected)


def test_predict_answers_what_label_studio_takes(predictor: Predictor) -> None:
    answers = ask(predictor, PICTURE, picture("red", "white"), picture("white"))

    interface = LabelInterface(RED_AND_BLUE)
    for answer in answers:
        assert isinstance(answer, dict)
        assert interface.validate_prediction(answer, return_errors=True) == []
        assert answer["model_version"] == MODEL_VERSION
        assert 0 <= answer["score"] <= 1
        assert all(0 <= region["score"] <= 1 for region in answer["result"])
    json.dumps(answers, allow_nan=False)


def test_predict_keeps_order_and_count_over_many_tasks(
    predictor: Predictor,
) -> None:
    pictures = {"red": picture("red", "white"), "blue": picture("white", "blue")}
    wanted = ["red", "blue", None, "blue", "red"] * 5

    answers = ask(predictor, *(pictures.get(colour or "") for colour in wanted))

    found = [
        names_of(answer["result"])[0] if isinstance(answer, dict) else None
        for answer in answers
    ]
    assert found == wanted


TWO_CONTROLS = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="one" toName="image">'
    '<Label value="red"/><Label value="blue"/></BrushLabels>'
    '<BrushLabels name="two" toName="image">'
    '<Label value="blue"/><Label value="Rot" alias="r" model_prompt="red"/>'
    "</BrushLabels></View>"
)


def test_predict_segments_once_for_two_controls_on_one_image(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    regions = ask_one(predictor, PICTURE, TWO_CONTROLS)

    assert segmenter.asked == [("red", "blue")]
    assert [(region["from_name"], *names_of([region])) for region in regions] == [
        ("one", "red"),
        ("one", "blue"),
        ("two", "blue"),
        ("two", "r"),
    ]
    np.testing.assert_array_equal(mask_of(regions[0]), mask_of(regions[3]))
    np.testing.assert_array_equal(mask_of(regions[1]), mask_of(regions[2]))
    (answer,) = ask(predictor, PICTURE, config=TWO_CONTROLS)
    interface = LabelInterface(TWO_CONTROLS)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_answers_by_alias_and_prompts_by_value(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    config = brush_config('<Label value="red" alias="r"/>')

    regions = ask_one(predictor, PICTURE, config)

    assert segmenter.asked == [("red",)]
    assert names_of(regions) == ["r"]


def test_predict_prompts_by_model_prompt(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    config = brush_config('<Label value="Ketchup" model_prompt="red"/>')

    regions = ask_one(predictor, PICTURE, config)

    assert segmenter.asked == [("red",)]
    assert names_of(regions) == ["Ketchup"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\N{CAT FACE}", id="emoji"),
        pytest.param("斑马", id="chinese"),
        pytest.param("x" * 300, id="300-characters"),
    ],
)
def test_predict_answers_with_a_name_as_it_is(name: str, predictor: Predictor) -> None:
    config = brush_config(f'<Label value="{name}" model_prompt="red"/>')

    (answer,) = ask(predictor, PICTURE, config=config)

    assert isinstance(answer, dict)
    assert names_of(answer["result"]) == [name]
    interface = LabelInterface(config)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_segments_300_labels_in_one_call(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    others = "".join(f'<Label value="label {n}"/>' for n in range(299))

    regions = ask_one(predictor, PICTURE, brush_config(others + '<Label value="red"/>'))

    assert [len(labels) for labels in segmenter.asked] == [300]
    assert names_of(regions) == ["red"]


@pytest.mark.parametrize(
    ("label_threshold", "control_threshold", "painted"),
    [
        pytest.param(None, None, 3, id="of-the-settings"),
        pytest.param(None, "0.7", 2, id="of-the-control"),
        pytest.param("0.3", None, 4, id="of-the-label"),
        pytest.param("0.1", "0.9", 5, id="of-the-label-before-the-control"),
    ],
)
def test_predict_cuts_at_the_nearest_threshold(
    label_threshold: str | None,
    control_threshold: str | None,
    painted: int,
    predictor: Predictor,
) -> None:
    def attribute(value: str | None) -> str:
        return f'model_score_threshold="{value}"' if value else ""

    config = brush_config(
        f'<Label value="red" {attribute(label_threshold)}/>',
        control=attribute(control_threshold),
    )

    (region,) = ask_one(predictor, data_uri(encoded(FADING)), config)

    assert mask_of(region).tolist() == [[column < painted for column in range(6)]]


def test_predict_leaves_out_a_label_that_is_not_present() -> None:
    predictor = make_predictor(ColourSegmenter(presence={"red": 0.4}))

    regions = ask_one(predictor, PICTURE, RED_AND_BLUE)

    assert names_of(regions) == ["blue"]


@pytest.mark.parametrize(
    ("label_line", "control_line", "is_drawn"),
    [
        pytest.param(None, None, False, id="of-the-settings"),
        pytest.param(None, "0.3", True, id="of-the-control"),
        pytest.param("0.3", "1", True, id="of-the-label-before-the-control"),
        pytest.param("0.5", "0", False, id="of-the-label-alone"),
    ],
)
def test_predict_draws_what_is_present_by_the_nearest_line(
    label_line: str | None, control_line: str | None, is_drawn: bool
) -> None:
    def attribute(value: str | None) -> str:
        return f'model_presence_threshold="{value}"' if value else ""

    config = brush_config(
        f'<Label value="red" {attribute(label_line)}/>',
        control=attribute(control_line),
    )
    predictor = make_predictor(ColourSegmenter(presence={"red": 0.4}))

    assert names_of(ask_one(predictor, PICTURE, config)) == ["red"] * is_drawn


def test_predict_names_regions_uniquely_and_the_same_on_a_repeat(
    segmenter: ColourSegmenter,
) -> None:
    first = ask(make_predictor(segmenter), PICTURE, PICTURE, config=TWO_CONTROLS)
    again = ask(make_predictor(segmenter), PICTURE, PICTURE, config=TWO_CONTROLS)

    assert first == again
    for answer in first:
        assert isinstance(answer, dict)
        ids = [region["id"] for region in answer["result"]]
        assert len(set(ids)) == len(ids) == 4
