"""Any label config that Label Studio takes: the answer passes its strict validation.

Configs are generated from the tags and attributes of the editor; those that Label
Studio's own check of a config refuses are not of interest.
"""

import json
from collections import Counter
from typing import Any
from xml.sax.saxutils import quoteattr

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import BadLabelConfig
from backend.label_studio import parse_predict
from backend.types import LabelStudioAccess
from tests.examples import at_most
from tests.fakes import COLOURS, ColourSegmenter, make_predictor, picture

NOWHERE = LabelStudioAccess(url=None)
WITH_LABELS = ["BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels"]
TOOLS = ["Brush", "Bitmask", "Polygon", "Rectangle"]
OTHERS = ["EllipseLabels", "KeyPointLabels", "VectorLabels", "Ellipse", "MagicWand"]

# What XML can hold; names of labels may be anything that people type.
texts = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], max_codepoint=0x1FFFF
    ),
    min_size=1,
    max_size=8,
)
label_names = st.one_of(st.sampled_from(list(COLOURS)), texts)


def attributes(**of: str | None) -> str:
    return "".join(
        f" {name}={quoteattr(value)}" for name, value in of.items() if value is not None
    )


@st.composite
def labels(draw: st.DrawFn) -> str:
    tags = []
    for value in draw(st.lists(label_names, min_size=1, max_size=4)):
        tags.append(
            "<Label"
            + attributes(
                value=value,
                alias=draw(st.none() | texts),
                model_prompt=draw(st.none() | st.sampled_from(list(COLOURS))),
                predicted_values=draw(st.none() | st.just("red,blue")),
                model_score_threshold=draw(st.none() | st.just("0.3")),
                model_skip=draw(st.sampled_from([None, None, None, "true"])),
                background=draw(st.none() | st.just("#ff0000")),
            )
            + "/>"
        )
    inside = "".join(tags)
    return f"<View>{inside}</View>" if draw(st.booleans()) else inside


@st.composite
def control(draw: st.DrawFn, name: str, images: list[str]) -> str:
    kind = draw(
        st.sampled_from([*WITH_LABELS, *WITH_LABELS, "Labels", *TOOLS, *OTHERS])
    )
    names = draw(st.lists(st.sampled_from(images), min_size=1, unique=True))
    of = attributes(
        name=name,
        toName=",".join(names),
        value=draw(st.sampled_from([None, None, None, "$names"])),
        model_overlap=draw(st.sampled_from([None, "independent"])),
        model_regions=draw(st.sampled_from([None, "part"])),
        model_max_regions=draw(st.sampled_from([None, "2"])),
        model_skip=draw(st.sampled_from([None, None, None, "true"])),
        choice=draw(st.sampled_from([None, "multiple"])),
    )
    has_labels = kind.endswith("abels")
    return f"<{kind}{of}>{draw(labels()) if has_labels else ''}</{kind}>"


@st.composite
def configs(draw: st.DrawFn) -> str:
    images = [f"image{number}" for number in range(draw(st.integers(1, 3)))]
    tags = [
        "<Image"
        + attributes(
            name=image,
            **draw(st.sampled_from([{"value": f"${image}"}, {"valueList": "$pages"}])),
        )
        + "/>"
        for image in images
    ]
    count = draw(st.integers(1, 5))
    tags += [draw(control(f"control {number}", images)) for number in range(count)]
    tags = draw(st.permutations(tags))
    half = len(tags) // 2
    return f"<View>{''.join(tags[:half])}<View>{''.join(tags[half:])}</View></View>"


def has_something_to_draw(config: str) -> bool:
    """Whether there is a control of a supported kind, and nothing is to be skipped."""
    controls = list(LabelInterface(config).controls)
    is_supported = any(tag.tag in WITH_LABELS for tag in controls) or any(
        set(labels.to_name) & set(tool.to_name)
        for labels in controls
        for tool in controls
        if labels.tag == "Labels" and tool.tag in TOOLS
    )
    return is_supported and "model_skip" not in config


TASK = {
    "image0": picture("red", "white", "blue", size_yx=(7, 12)),
    "image1": picture("green", "red", size_yx=(12, 5)),
    "image2": picture("white", size_yx=(3, 3)),
    "pages": [picture("blue", "red", "blue"), picture("green", size_yx=(5, 9))],
    "names": [{"value": "red"}, {"value": "B", "alias": "b", "model_prompt": "blue"}],
}


@settings(
    max_examples=at_most(150),
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(config=configs())
def test_any_accepted_config_is_answered_with_what_strict_validation_takes(
    config: str,
) -> None:
    interface = LabelInterface(config)
    assume(interface.is_valid)
    predictor = make_predictor(ColourSegmenter())
    body = {"tasks": [{"id": 1, "data": TASK}], "label_config": config}

    try:
        (answer,) = predictor.predict(parse_predict(body), NOWHERE)
    except BadLabelConfig:
        assert not has_something_to_draw(config)
        return

    if isinstance(answer, dict):
        assert interface.validate_prediction(answer, return_errors=True) == []
        assert json.loads(json.dumps(answer)) == answer
        assert no_region_shares_an_id_but_with_its_labels(answer)
    (invalid,) = predictor.metrics.invalid_regions.collect()[0].samples[:1]
    assert invalid.value == 0


def no_region_shares_an_id_but_with_its_labels(answer: dict[str, Any]) -> bool:
    counts = Counter((region["id"], region["type"]) for region in answer["result"])
    drawn = Counter(r["id"] for r in answer["result"] if r["type"] != "labels")
    return max(counts.values(), default=1) == 1 and max(drawn.values(), default=1) == 1
