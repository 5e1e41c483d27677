import json
import os
import re
import string
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface

from backend.errors import BadMask
from backend.regions import brush_region, prediction, region_id
from backend.values import Control, Label

CONFIG = """<View>
  <Image name="photo" value="$image"/>
  <BrushLabels name="paint" toName="photo">
    <Label value="Dog"/><Label value="Трава, высокая" alias="grass"/>
  </BrushLabels>
</View>"""
DOG = Label(name="Dog", prompt="dog")
GRASS = Label(name="grass", prompt="Трава, высокая")
CONTROL = Control(
    from_name="paint", to_name="photo", data_key="image", labels=(DOG, GRASS)
)
MASK = np.arange(15).reshape(3, 5) % 4 == 0

part = st.none() | st.integers() | st.text() | st.booleans()


def region_of(label: Label, **changed: object) -> dict:
    arguments = {
        "control": CONTROL,
        "label": label,
        "mask": MASK,
        "score": 0.5,
        "region_id": region_id(7, CONTROL.from_name, label.name),
    }
    return brush_region(**(arguments | changed))


def test_brush_region_is_the_region_label_studio_documents_and_no_more() -> None:
    region = region_of(DOG, score=0.876543, region_id="r1")

    assert region == {
        "id": "r1",
        "type": "brushlabels",
        "from_name": "paint",
        "to_name": "photo",
        "score": 0.8765,
        "original_width": 5,
        "original_height": 3,
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": brush.mask2rle(MASK.astype(np.uint8) * 255),
            "brushlabels": ["Dog"],
        },
    }


def test_predictions_pass_the_validator_of_the_server() -> None:
    answer = prediction(
        [region_of(DOG), region_of(GRASS)], model_version="pocket-1a2b", score=0.61237
    )

    errors = LabelInterface(CONFIG).validate_prediction(answer, return_errors=True)

    assert errors == []
    assert answer["model_version"] == "pocket-1a2b"
    assert answer["score"] == 0.6124
    assert [r["value"]["brushlabels"] for r in answer["result"]] == [["Dog"], ["grass"]]


@pytest.mark.parametrize(
    ("region", "told"),
    [
        pytest.param(region_of(Label(name="Cat", prompt="cat")), "Cat", id="label"),
        pytest.param(region_of(DOG) | {"from_name": "other"}, "other", id="from-name"),
        pytest.param(region_of(DOG) | {"value": {}}, "value|brushlabels", id="value"),
    ],
)
def test_the_validator_these_tests_trust_refuses_a_bad_region(
    region: dict, told: str
) -> None:
    answer = prediction([region], model_version="v", score=0.5)

    errors = LabelInterface(CONFIG).validate_prediction(answer, return_errors=True)

    assert any(re.search(told, error) for error in errors)


def test_an_image_with_nothing_on_it_is_a_prediction_without_regions() -> None:
    answer = prediction([], model_version="v", score=0)

    assert answer == {"model_version": "v", "score": 0.0, "result": []}
    assert LabelInterface(CONFIG).validate_prediction(answer, return_errors=True) == []


def test_predictions_become_the_same_json_twice() -> None:
    def answer() -> str:
        regions = [region_of(label, score=np.float32(0.9)) for label in (DOG, GRASS)]
        return json.dumps(
            prediction(regions, model_version="v", score=np.float32(0.25)),
            allow_nan=False,
        )

    assert answer() == answer()


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_scores_that_would_sink_the_batch_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        region_of(DOG, score=score)
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        prediction([], model_version="v", score=score)


def test_brush_region_lets_no_empty_mask_through() -> None:
    with pytest.raises(BadMask, match="empty"):
        region_of(DOG, mask=np.zeros((0, 0), bool))


def test_region_id_is_the_same_in_another_process() -> None:
    script = (
        "from backend.regions import region_id; print(region_id(7, 'paint', 'Dog'))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}

    printed = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()

    assert printed == region_id(7, "paint", "Dog")


@settings(max_examples=300, deadline=None)
@given(first=st.lists(part), second=st.lists(part))
def test_region_id_differs_exactly_when_its_parts_do(first: list, second: list) -> None:
    identical = list(map(repr, first)) == list(map(repr, second))

    assert (region_id(*first) == region_id(*second)) is identical


def test_region_id_differs_for_every_region_of_a_big_project() -> None:
    ids = {
        region_id(task, control, label)
        for task in range(2_000)
        for control in ("paint", "brush")
        for label in ("Dog", "grass", "1", "11")
    }

    assert len(ids) == 2_000 * 2 * 4


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(part))
def test_region_id_has_10_characters_that_need_no_escaping(parts: list) -> None:
    identity = region_id(*parts)

    assert len(identity) == 10
    assert set(identity) <= set(string.ascii_letters + string.digits + "-_")


def test_region_id_refuses_parts_without_a_stable_spelling() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        region_id(object())
