import json
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image

from backend.errors import BadMask
from backend.regions.components import Part, parts
from backend.regions.control_tags import control_tags
from backend.regions.polygons import outline
from backend.regions.results import prediction, region_id, write_region
from backend.types import Control, CutOptions, ImageTag, Label
from tests.examples import at_most
from tests.masks import masks, noise, wavy, winding_numbers

SHAPES = tuple(control_tags())
PHOTO = ImageTag(name="photo", value="$image")
DOG = Label(name="Dog", prompts=("dog",))
GRASS = Label(name="grass", prompts=("Трава, высокая",))
CUT = CutOptions(threshold_01=0.5)
MASK = np.arange(15).reshape(3, 5) % 4 == 0
PART = Part(
    box_yxyx=(1, 2, 3, 4), pixels=np.array([[True, True], [True, False]]), area_px=3
)
PART_SIZE_YX = (4, 5)


def control_of(shape: str, *, in_labels: bool = False) -> Control:
    """One that draws with labels of its own, or with those of a `<Labels>`."""
    return Control(
        from_name="paint",
        image=PHOTO,
        shape=shape,
        labels=(DOG, GRASS),
        cut=CUT,
        mode="fast",
        labels_from_name="names" if in_labels else None,
    )


def config_of(control: Control) -> str:
    """What a person would have written for that control."""
    labels = "".join(
        f"<Label value={quoteattr(label.prompts[0])} alias={quoteattr(label.name)}/>"
        for label in control.labels
    )
    tag = control.shape.title()
    if control.labels_from_name is None:
        drawing = f'<{tag}Labels name="paint" toName="photo">{labels}</{tag}Labels>'
    else:
        drawing = (
            f'<Labels name="names" toName="photo">{labels}</Labels>'
            f'<{tag} name="paint" toName="photo"/>'
        )
    return f'<View><Image name="photo" value="$image"/>{drawing}</View>'


def errors_of(control: Control, answer: dict) -> list[str]:
    return LabelInterface(config_of(control)).validate_prediction(
        answer, return_errors=True
    )


def region_of(control: Control, **changed: object) -> list[dict]:
    arguments = {
        "shape": PART,
        "control": control,
        "label": DOG,
        "size_yx": PART_SIZE_YX,
        "score": 0.5,
        "region_id": "r1",
    } | changed
    return write_region(arguments.pop("shape"), **arguments)


def value_of(drawn_as: str, **changed: object) -> dict:
    (result,) = region_of(control_of(drawn_as), **changed)
    return result["value"]


def pixels_of(value: dict, size_yx: tuple[int, int]) -> np.ndarray:
    """What the editor would draw, as a mask; brushes as the SDK reads them."""
    rows, columns = size_yx
    if "rle" in value:
        channels = brush.decode_rle(value["rle"]).reshape(rows, columns, 4)
        return channels[..., 3] == 255
    if "imageDataURL" in value:
        png = b64decode(value["imageDataURL"].partition(",")[2])
        return np.array(Image.open(BytesIO(png)).convert("RGBA"))[..., 3] == 255
    if "points" in value:
        ring = [(x / 100 * columns, y / 100 * rows) for x, y in value["points"]]
        # A centre lies half a pixel off every corner: rounding cannot move it over.
        return winding_numbers(ring, size_yx) != 0
    if "height" not in value:
        drawn = np.zeros(size_yx, bool)
        drawn[int(value["y"] * rows / 100), int(value["x"] * columns / 100)] = True
        return drawn
    edges = [
        value["x"] * columns,
        value["y"] * rows,
        (value["x"] + value["width"]) * columns,
        (value["y"] + value["height"]) * rows,
    ]
    x0, y0, x1, y1 = (round(edge / 100) for edge in edges)
    drawn = np.zeros(size_yx, bool)
    drawn[y0:y1, x0:x1] = True
    return drawn


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        pytest.param(
            "polygon",
            {
                "points": [
                    [40, 25],
                    [80, 25],
                    [80, 50],
                    [60, 50],
                    [60, 75],
                    [40, 75],
                ],
                "closed": True,
            },
            id="polygon",
        ),
        pytest.param(
            "rectangle",
            {"x": 40, "y": 25, "width": 40, "height": 50, "rotation": 0},
            id="rectangle",
        ),
        pytest.param(
            "brush",
            {
                "format": "rle",
                "rle": brush.mask2rle(
                    PART.on_canvas(PART_SIZE_YX).astype(np.uint8) * 255
                ),
            },
            id="brush",
        ),
    ],
)
def test_write_region_is_what_label_studio_documents_and_no_more(
    shape: str, drawn: dict
) -> None:
    (own,) = region_of(control_of(shape), score=0.876543)
    pair = region_of(control_of(shape, in_labels=True), score=0.876543)

    about = {
        "id": "r1",
        "to_name": "photo",
        "score": 0.8765,
        "original_width": 5,
        "original_height": 4,
        "image_rotation": 0,
    }
    kind = f"{shape}labels"
    assert own == about | {
        "type": kind,
        "from_name": "paint",
        "value": drawn | {kind: ["Dog"]},
    }
    assert pair == [
        about | {"type": shape, "from_name": "paint", "value": drawn},
        about
        | {
            "type": "labels",
            "from_name": "names",
            "value": drawn | {"labels": ["Dog"]},
        },
    ]


def test_write_region_puts_a_bitmask_where_the_editor_looks_for_it() -> None:
    value = value_of("bitmask")

    assert set(value) == {"imageDataURL", "bitmasklabels"}
    assert value["imageDataURL"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("in_labels", [False, True])
def test_write_region_names_a_page_only_if_there_is_one(in_labels: bool) -> None:
    control = control_of("rectangle", in_labels=in_labels)

    assert all("item_index" not in result for result in region_of(control))
    first, last = region_of(control, item_index=0), region_of(control, item_index=7)
    assert {result["item_index"] for result in first} == {0}
    assert {result["item_index"] for result in last} == {7}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_labels", [False, True])
def test_predictions_pass_the_validator_of_the_server(
    shape: str, in_labels: bool
) -> None:
    control = control_of(shape, in_labels=in_labels)

    answer = prediction(
        [
            *region_of(control, region_id="r1", item_index=2),
            *region_of(control, region_id="r2", label=GRASS),
        ],
        model_version="pocket-1a2b",
        score=0.61237,
    )

    assert errors_of(control, answer) == []
    assert answer["model_version"] == "pocket-1a2b"
    assert answer["score"] == 0.6124
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


# What an attribute of an XML tag can hold.
names = (
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn")))
    .map(str.strip)
    .filter(bool)
)


@settings(deadline=None)
@given(
    masks() | noise(),
    st.sampled_from(SHAPES),
    st.booleans(),
    names,
    st.floats(0, 1),
    st.none() | st.integers(0, 99),
)
def test_any_part_of_any_mask_passes_the_validator_and_stays_on_the_image(
    mask: np.ndarray,
    shape: str,
    in_labels: bool,
    name: str,
    score: float,
    item_index: int | None,
) -> None:
    label = Label(name=name, prompts=("dog",))
    control = replace(control_of(shape, in_labels=in_labels), labels=(label,))

    results = [
        result
        for number, part in enumerate(parts(mask))
        for result in region_of(
            control,
            shape=part,
            label=label,
            size_yx=mask.shape,
            score=score,
            item_index=item_index,
            region_id=region_id(number),
        )
    ]

    answer = prediction(results, model_version="v", score=score)
    assert errors_of(control, json.loads(json.dumps(answer, allow_nan=False))) == []
    for value in (result["value"] for result in results):
        if shape == "polygon":
            assert all(0 <= at <= 100 for point in value["points"] for at in point)
        if shape == "rectangle":
            assert 0 <= value["x"] < value["x"] + value["width"] <= 100
            assert 0 <= value["y"] < value["y"] + value["height"] <= 100


@settings(deadline=None)
@given(masks() | noise())
def test_every_shape_is_drawn_on_the_pixels_that_it_was_cut_from(
    mask: np.ndarray,
) -> None:
    for part in parts(mask):
        drawn = {
            shape: pixels_of(
                region_of(
                    replace(
                        control_of(shape), cut=replace(CUT, polygon_tolerance_01=0)
                    ),
                    shape=part,
                    size_yx=mask.shape,
                )[0]["value"],
                mask.shape,
            )
            for shape in SHAPES
        }

        expected = part.on_canvas(mask.shape)
        for shape in ("brush", "bitmask", "polygon"):
            np.testing.assert_array_equal(drawn[shape], expected)
        y, x = np.nonzero(expected)
        box = np.zeros(mask.shape, bool)
        box[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
        np.testing.assert_array_equal(drawn["rectangle"], box)
        assert (drawn["keypoint"] & expected).sum() == 1


@settings(max_examples=at_most(2000), deadline=None)
@given(st.data())
def test_no_rectangle_leaves_an_image_of_any_size(data: st.DataObject) -> None:
    length_px = data.draw(st.integers(1, 100_000))
    start = data.draw(st.integers(0, length_px - 1))
    end = data.draw(st.integers(start + 1, length_px))
    # Its pixels do not matter to a rectangle, and would fill the memory.
    part = Part(box_yxyx=(start, 0, end, 1), pixels=np.ones((1, 1), bool), area_px=1)

    value = value_of("rectangle", shape=part, size_yx=(length_px, 1))

    assert value["y"] + value["height"] <= 100
    assert value["y"] * length_px / 100 == pytest.approx(start, abs=1e-6)
    assert value["height"] * length_px / 100 == pytest.approx(end - start, abs=1e-6)


@pytest.mark.parametrize("shape", ["brush", "bitmask"])
def test_masks_of_several_parts_are_drawn_whole(shape: str) -> None:
    value = value_of(shape, shape=MASK, size_yx=MASK.shape)

    np.testing.assert_array_equal(pixels_of(value, MASK.shape), MASK)


@pytest.mark.parametrize("shape", ["polygon", "rectangle"])
def test_shapes_with_one_outline_refuse_a_mask(shape: str) -> None:
    with pytest.raises(ValueError, match="encloses one part, not a mask"):
        value_of(shape, shape=MASK, size_yx=MASK.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_and_masks_of_another_image_are_refused(shape: str) -> None:
    with pytest.raises(ValueError, match="does not fit into"):
        value_of(shape, size_yx=(4, 3))
    with pytest.raises(ValueError, match=r"the mask is \(3, 5\)|one part, not a mask"):
        value_of(shape, shape=MASK, size_yx=(5, 3))


def test_polygons_pass_the_mask_within_a_share_of_the_images_diagonal() -> None:
    mask = wavy(300, 400)
    (part,) = parts(mask)
    control = replace(
        control_of("polygon"), cut=replace(CUT, polygon_tolerance_01=0.01)
    )

    (result,) = region_of(control, shape=part, size_yx=mask.shape)

    points = np.array(result["value"]["points"]) * [4, 3]
    np.testing.assert_allclose(points, outline(part, tolerance_px=5))
    assert len(points) < len(outline(part, tolerance_px=4.5))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param({"value": {"brushlabels": ["Cat"]}}, "Cat", id="label"),
        pytest.param({"from_name": "other"}, "other", id="from-name"),
        pytest.param({"value": {}}, "value|brushlabels", id="value"),
    ],
)
def test_the_validator_these_tests_trust_refuses_a_bad_region(
    changed: dict, told: str
) -> None:
    control = control_of("brush")
    (region,) = region_of(control)
    answer = prediction([region | changed], model_version="v", score=0.5)

    assert any(re.search(told, error) for error in errors_of(control, answer))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_validator_these_tests_trust_refuses_half_a_pair(shape: str) -> None:
    control = control_of(shape, in_labels=True)
    drawn, labelled = region_of(control)
    alone = prediction([labelled], model_version="v", score=0.5)
    empty = prediction(
        [drawn, labelled | {"value": {"labels": ["Dog"]}}], model_version="v", score=0.5
    )

    assert errors_of(control, alone)
    assert errors_of(control, empty)


def test_an_image_with_nothing_on_it_is_a_prediction_without_regions() -> None:
    answer = prediction([], model_version="v", score=0)

    assert answer == {"model_version": "v", "score": 0.0, "result": []}
    assert errors_of(control_of("brush"), answer) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_become_the_same_json_twice(shape: str) -> None:
    def answer() -> str:
        regions = region_of(control_of(shape), score=np.float32(0.9))
        return json.dumps(
            prediction(regions, model_version="v", score=np.float32(0.25)),
            allow_nan=False,
        )

    assert answer() == answer()


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_scores_that_would_sink_the_batch_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        region_of(control_of("brush"), score=score)
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        prediction([], model_version="v", score=score)


@pytest.mark.parametrize("shape", ["brush", "bitmask"])
def test_write_region_lets_no_empty_image_through(shape: str) -> None:
    with pytest.raises(BadMask):
        value_of(shape, shape=np.zeros((0, 4), bool), size_yx=(0, 4))
