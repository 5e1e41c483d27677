"""Predictions of projects whose labels have learned, and what their versions say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from backend.cache import MAX_LAYER_BYTES, FeatureStore, Slots
from backend.inference import Predictor, Taught
from backend.label_studio import parse_predict
from backend.regions import maps_of_labels, seen_regions
from backend.types import Control, LabelStudioAccess
from segmenter import Heads, fit_heads, make_example
from tests.clicking import point
from tests.fakes import (
    ColourSegmenter,
    MemoryCache,
    Pixels,
    brush_config,
    data_uri,
    encoded,
    make_predictor,
    striped,
)

NOWHERE: Final = LabelStudioAccess(url=None)
ZORK: Final = brush_config('<Label value="red"/><Label value="zork" model_prompt=""/>')
ONLY_ZORK: Final = brush_config('<Label value="zork" model_prompt=""/>')
SIZE_YX: Final = (16, 24)
GREEN: Final = striped("red", "green", size_yx=SIZE_YX)


def example_of(pixels: Pixels, *, is_there: bool) -> Any:
    """A picture in which what is green was painted as zork, or nothing was."""
    segmenter = ColourSegmenter()
    (maps,) = segmenter.score([pixels], [["red"]])
    control = control_of(ZORK)
    own = maps_of_labels(control, maps)
    green = (pixels == (0, 255, 0)).all(axis=2)
    return make_example(own, {"zork": green} if is_there else {})


def control_of(config: str) -> Control:
    return make_predictor(ColourSegmenter()).plan(config).config.controls[0]


@pytest.fixture(scope="module")
def heads() -> Heads:
    """Fitted to green stripes that were painted as zork."""
    there = [
        ("red", "green"),
        ("green", "blue"),
        ("green", "white"),
        ("black", "green"),
    ]
    others = [("red", "blue"), ("blue", "white"), ("white", "red"), ("black", "blue")]
    examples = [
        example_of(striped(*colours, size_yx=SIZE_YX), is_there=colours in there)
        for colours in [*there, *others]
    ]
    found = fit_heads(examples)
    (zork,) = [head for head in found.labels if head.label == "zork"]
    assert zork.weight_01 > 0
    return found


def predictor_of(
    segmenter: ColourSegmenter,
    heads: Heads | None,
    cache: MemoryCache | None = None,
    *,
    maps_name: str | None = None,
    n_slots: int = 64,
    **parts: Any,
) -> Predictor:
    """One for which project 7 has learned `heads`."""
    cache = cache or MemoryCache()
    layers = FeatureStore(
        Slots(cache, "layers", n_slots), max_bytes=0, largest_bytes=MAX_LAYER_BYTES
    )
    made = make_predictor(
        segmenter, cache=cache, layers=layers, version_of=lambda print: print, **parts
    )
    name = maps_name or made.scorer.maps_name("fast")

    def taught(project: str | None) -> Taught | None:
        is_seven = project in {"7", "7.1795346673"}
        return Taught(heads=heads, maps_name=name) if heads and is_seven else None

    return replace(made, taught=taught)


def ask(
    predictor: Predictor,
    config: str = ZORK,
    pictures: Sequence[Pixels] = (GREEN,),
    project: str = "7.1795346673",
    context: Any = None,
) -> list[Any]:
    tasks = [
        {"id": number, "data": {"image": data_uri(encoded(pixels))}}
        for number, pixels in enumerate(pictures, 1)
    ]
    body = {
        "tasks": tasks,
        "label_config": config,
        "project": project,
        "params": {"context": context},
    }
    return predictor.predict(parse_predict(body), NOWHERE)


def masks_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        region.labels[0]: region.mask()
        for region in seen_regions(answer["result"]).values()
    }


def test_a_taught_label_without_words_is_drawn_where_examples_say(heads: Heads) -> None:
    (answer,) = ask(predictor_of(ColourSegmenter(), heads))

    masks = masks_of(answer)
    assert set(masks) == {"red", "zork"}
    green = (GREEN == (0, 255, 0)).all(axis=2)
    np.testing.assert_array_equal(masks["zork"], green)


def test_a_label_without_words_is_drawn_nowhere_before_it_is_taught() -> None:
    segmenter = ColourSegmenter()

    (answer,) = ask(predictor_of(segmenter, None))

    assert set(masks_of(answer)) == {"red"}
    assert segmenter.asked == [("red",)]


def test_a_config_of_labels_without_words_takes_one_pass(heads: Heads) -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    predictor = predictor_of(segmenter, heads, cache)

    first, again = ask(predictor, ONLY_ZORK), ask(predictor, ONLY_ZORK)

    assert set(masks_of(first[0])) == {"zork"}
    assert segmenter.asked == [()]
    assert json.dumps(first) == json.dumps(again)


def test_other_projects_draw_what_words_say_under_the_version_of_words(
    heads: Heads,
) -> None:
    taught = predictor_of(ColourSegmenter(), heads)
    untaught = predictor_of(ColourSegmenter(), None)

    theirs = ask(taught, project="8.1795346673")

    assert json.dumps(theirs) == json.dumps(ask(untaught))
    assert theirs[0]["model_version"] == untaught.model_version(ZORK)


def test_the_version_tells_which_heads_count_wherever_it_is_asked_for(
    heads: Heads,
) -> None:
    predictor = predictor_of(ColourSegmenter(), heads)

    (answer,) = ask(predictor)

    version = answer["model_version"]
    assert version == predictor.setup_version(ZORK, "7.1795346673")
    assert version == predictor.model_version(ZORK, "7")
    assert version == predictor.plan(ZORK, "7").version
    assert version == f"{predictor.model_version(ZORK)}:{heads.fingerprint}"


def test_heads_of_another_models_maps_are_left_out(heads: Heads) -> None:
    predictor = predictor_of(ColourSegmenter(), heads, maps_name="of another model")

    (answer,) = ask(predictor)

    assert set(masks_of(answer)) == {"red"}
    assert answer["model_version"] == predictor.model_version(ZORK)


def test_heads_apply_to_controls_of_the_mode_that_taught_them_alone(
    heads: Heads,
) -> None:
    predictor = predictor_of(ColourSegmenter(), heads)
    config = ZORK.replace('name="tag"', 'name="tag" model_mode="paper"')

    (answer,) = ask(predictor, config)

    assert set(masks_of(answer)) == {"red"}
    assert answer["model_version"] == predictor.model_version(config)


def test_maps_that_are_kept_without_layers_cost_one_pass_and_then_none(
    heads: Heads,
) -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    pictures = [striped(c, "blue", size_yx=SIZE_YX) for c in ("red", "green", "white")]
    ask(predictor_of(segmenter, None, cache), pictures=pictures)
    assert segmenter.calls == 3
    assert not any(name.startswith("layers") for name in cache.values)

    first = ask(predictor_of(segmenter, heads, cache), pictures=pictures)
    assert segmenter.calls == 6
    again = ask(predictor_of(segmenter, heads, cache), pictures=pictures)

    assert segmenter.calls == 6
    assert json.dumps(first) == json.dumps(again)
    assert {"zork"} == set(masks_of(first[1]))


def test_layers_are_kept_in_no_more_slots_than_there_are(heads: Heads) -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    pictures = [striped("green", c, size_yx=SIZE_YX) for c in ("red", "blue", "white")]
    predictor = predictor_of(segmenter, heads, cache, n_slots=1)

    answers = [ask(predictor, pictures=[one])[0] for one in pictures * 2]

    assert all("zork" in masks_of(answer) for answer in answers)
    assert sum(name.startswith("layers") for name in cache.values) == 1


def test_a_task_that_is_opened_keeps_layers_for_whoever_corrects_it(
    heads: Heads,
) -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    ask(predictor_of(segmenter, None, cache))

    ask(predictor_of(segmenter, heads, cache))

    assert segmenter.calls == 1


def test_typed_prompts_are_read_as_before(heads: Heads) -> None:
    config = ZORK.replace("</View>", '<TextArea name="prompt" toName="image"/></View>')
    typed = {
        "result": [
            {
                "type": "textarea",
                "from_name": "prompt",
                "to_name": "image",
                "value": {"text": ["red"]},
            }
        ]
    }
    segmenter = ColourSegmenter()

    (answer,) = ask(predictor_of(segmenter, heads), config, context=typed)

    assert set(masks_of(answer)) == {"red"}
    assert segmenter.asked == [("red",)]


def test_a_click_on_a_taught_label_begins_with_what_it_learned(heads: Heads) -> None:
    config = ZORK.replace(
        "</View>",
        '<KeyPointLabels name="kp" toName="image" smart="true">'
        '<Label value="red"/><Label value="zork"/></KeyPointLabels></View>',
    )
    # In its right half, which is green.
    value = {"x": 75, "y": 50, "width": 1, "labels": ["zork"]}
    click = point(0, 0, "zork", value=value | {"keypointlabels": ["zork"]})
    answers = {}
    for name, known in (("words", None), ("taught", heads)):
        predictor = predictor_of(ColourSegmenter(), known)
        answers[name] = ask(predictor, config, context={"result": [click]})[0]

    green = (GREEN == (0, 255, 0)).all(axis=2)
    np.testing.assert_array_equal(masks_of(answers["taught"])["zork"], green)
    assert answers["taught"]["model_version"] != answers["words"]["model_version"]
