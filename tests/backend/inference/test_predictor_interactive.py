"""What the editor asks while somebody annotates: nothing of theirs may be lost."""

import logging
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.inference.predictor import Predictor
from tests.asking import PICTURE, ask, mask_of, names_of
from tests.clicking import point
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    brush_config,
    make_predictor,
    picture,
)

# As the editor sends it, but for its origin: nobody drew it.
GIVEN = point(1, 1, origin="prediction")
CLICKS_AND_BOXES = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="red"/><Label value="blue"/>'
    '</BrushLabels><KeyPointLabels name="kp" toName="image" smart="true">'
    '<Label value="red"/></KeyPointLabels>'
    '<RectangleLabels name="box" toName="image" smart="true"><Label value="red"/>'
    "</RectangleLabels></View>"
)
TYPING = CLICKS_AND_BOXES.replace(
    "<BrushLabels", '<TextArea name="prompt" toName="image"/><BrushLabels'
)


def typed(*texts: str, **changed: Any) -> dict[str, Any]:
    region = {
        "id": "t",
        "type": "textarea",
        "from_name": "prompt",
        "to_name": "image",
        "value": {"text": list(texts)},
    }
    return {"result": [region | changed]}


def ask_with(
    predictor: Predictor, context: Any, config: str = TYPING, address: Any = PICTURE
) -> dict[str, Any]:
    """The one answer to a question of the editor."""
    (answer,) = ask(predictor, address, config=config, params={"context": context})
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    ("context", "told"),
    [
        pytest.param({"result": [GIVEN]}, "keypointlabels of 'kp'", id="pre-annotated"),
        pytest.param({"result": []}, "a question without regions", id="no-regions"),
        pytest.param({"result": None}, "a question without", id="null"),
        pytest.param({"result": ["x"]}, "a question without", id="no-objects"),
        pytest.param(["x"], "a question without", id="no-object"),
        pytest.param({"result": [{"type": 7}]}, "7 of None", id="odd"),
        pytest.param({"result": [{"type": []}]}, "a region of None", id="odder"),
        pytest.param(
            {"result": [GIVEN, {**GIVEN, "type": "textarea"}]}, "textarea", id="mixed"
        ),
    ],
)
def test_predict_answers_what_it_does_not_understand_without_any_region(
    context: Any,
    told: str,
    segmenter: ColourSegmenter,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    version = predictor.model_version(CLICKS_AND_BOXES)

    with caplog.at_level(logging.INFO):
        answer = ask_with(predictor, context, CLICKS_AND_BOXES, "not even an address")

    assert answer == {"model_version": version, "score": 0, "result": []}
    assert segmenter.calls == 0
    (line,) = caplog.messages
    assert "the editor's question is answered without regions" in line
    assert told in line


@pytest.mark.parametrize("context", [None, {}, []])
def test_predict_paints_where_nobody_waits(context: Any, predictor: Predictor) -> None:
    answer = ask_with(predictor, context, RED_AND_BLUE)

    assert names_of(answer["result"]) == ["red", "blue"]


def test_predict_leaves_tools_for_clicks_alone_and_says_so(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask_with(predictor, None, CLICKS_AND_BOXES)

    assert {region["from_name"] for region in answer["result"]} == {"tag"}
    assert "'kp'> is left to the annotators" in caplog.text
    assert "'box'> is left to the annotators" in caplog.text


def test_predict_draws_key_points_inside_of_what_they_are_of(
    predictor: Predictor,
) -> None:
    config = CLICKS_AND_BOXES.replace('"kp"', '"kp" model_skip="false"')

    answer = ask_with(predictor, None, config)

    red, _, point = answer["result"]
    x, y = point["value"]["x"] * 6 / 100, point["value"]["y"] * 4 / 100
    assert point["type"] == "keypointlabels"
    assert point["value"]["keypointlabels"] == ["red"]
    assert mask_of(red)[int(y), int(x)]
    assert LabelInterface(config).validate_prediction(answer, return_errors=True) == []


RED_AND_SKY = brush_config(
    '<Label value="red"/><Label value="sky" model_prompt="blue"/>'
)
RED_AND_SKY = RED_AND_SKY.replace(
    "<BrushLabels", '<TextArea name="prompt" toName="image"/><BrushLabels'
)


def test_predict_segments_what_was_typed_under_a_label_of_the_config(
    segmenter: ColourSegmenter, predictor: Predictor
) -> None:
    answer = ask_with(predictor, typed("green"), RED_AND_SKY, picture("green", "blue"))

    (region,) = answer["result"]
    assert names_of([region]) == ["red"]
    np.testing.assert_array_equal(mask_of(region), [[True] * 3 + [False] * 3] * 4)
    # The other label is looked for as well, and keeps what is its own.
    assert segmenter.asked == [("green", "blue")]
    interface = LabelInterface(RED_AND_SKY)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_draws_a_label_of_the_config_that_was_typed(
    predictor: Predictor,
) -> None:
    answer = ask_with(predictor, typed("Sky"), RED_AND_SKY)

    (region,) = answer["result"]
    assert names_of([region]) == ["sky"]
    assert mask_of(region)[:, 2:4].all()


def test_predict_takes_what_was_typed_last(predictor: Predictor) -> None:
    answer = ask_with(predictor, typed("red", "sky"), RED_AND_SKY)

    assert names_of(answer["result"]) == ["sky"]


def test_predict_draws_what_was_typed_whatever_presence_says() -> None:
    predictor = make_predictor(ColourSegmenter(presence={"red": 0.1, "blue": 0.1}))

    assert ask_with(predictor, None, RED_AND_SKY)["result"] == []
    assert names_of(ask_with(predictor, typed("red"), RED_AND_SKY)["result"]) == ["red"]


def test_predict_gives_what_was_typed_ids_of_its_own_each_time(
    predictor: Predictor,
) -> None:
    """An id that comes again would take the place of a corrected region."""
    answers = [
        ask_with(predictor, context, RED_AND_SKY)
        for context in (None, typed("red"), typed("red"))
    ]

    ids = [region["id"] for answer in answers for region in answer["result"]]
    assert len(ids) == len(set(ids)) == 4


@pytest.mark.parametrize(
    ("context", "config", "told"),
    [
        pytest.param(
            typed("red"), RED_AND_BLUE, "has no <TextArea> 'prompt'", id="no-text-area"
        ),
        pytest.param(
            typed("red"),
            RED_AND_SKY.replace("<TextArea", '<TextArea model_skip="true"'),
            "has no <TextArea> 'prompt' for prompts",
            id="skipped",
        ),
        pytest.param(
            typed("red", to_name="text"), RED_AND_SKY, "is about 'text'", id="other-tag"
        ),
        pytest.param(typed(), RED_AND_SKY, "textarea of 'prompt'", id="no-text"),
        pytest.param(typed(" "), RED_AND_SKY, "textarea of 'prompt'", id="blank"),
        pytest.param(
            typed("red", value=None), RED_AND_SKY, "textarea of 'prompt'", id="no-value"
        ),
        pytest.param(
            {
                "result": [
                    {"id": "t", "type": "brushlabels", "from_name": "tag"},
                    *typed("a fine red")["result"],
                ]
            },
            RED_AND_SKY,
            "textarea of 'prompt'",
            id="text-about-a-region",
        ),
    ],
)
def test_predict_segments_no_text_that_is_no_prompt(
    context: Any,
    config: str,
    told: str,
    predictor: Predictor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask_with(predictor, context, config)

    assert answer["result"] == []
    (line,) = caplog.messages
    assert told in line


def test_predict_says_of_a_text_that_nothing_was_found(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask_with(predictor, typed("unicorn"), RED_AND_SKY, picture("blue"))

    assert answer["result"] == []
    assert "nothing found for tag. Asked for 'red' as 'unicorn'. Best was 'red'" in (
        caplog.text
    )


def test_predict_does_not_put_off_what_was_typed() -> None:
    put_off: list[Any] = []
    predictor = make_predictor(
        ColourSegmenter(), budget_s=0.0, on_timeout=lambda *asked: put_off.append(asked)
    )

    answer = ask_with(predictor, typed("red"), RED_AND_SKY)

    assert answer["result"] == []
    assert put_off == []


def test_predict_reads_a_text_from_a_plain_string(predictor: Predictor) -> None:
    answer = ask_with(predictor, typed(value={"text": "red"}), RED_AND_SKY)

    assert names_of(answer["result"]) == ["red"]
