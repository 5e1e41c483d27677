from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.feedback.corrections import Reading, read_annotation
from backend.label_config import read_label_config
from backend.regions.rle import encode_rle
from backend.types import CutOptions
from tests.backend.feedback.annotations import region
from tests.fakes import RED_AND_BLUE, brush_config, defaults_of

DEFAULTS = defaults_of(CutOptions(threshold_01=0.5, min_area_01=0))
SIZE_YX = (6, 10)


def box(y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(SIZE_YX, bool)
    mask[y0:y1, x0:x1] = True
    return mask


WHOLE, LEFT, RIGHT = box(0, 0, 6, 10), box(0, 0, 6, 5), box(0, 5, 6, 10)


def read(
    results: Sequence[dict[str, Any]],
    answered: Sequence[dict[str, Any]] = (),
    *,
    config: str = RED_AND_BLUE,
) -> Reading:
    controls = read_label_config(config, DEFAULTS).for_task({"image": "a.png"})
    return read_annotation(results, controls, answered, name="annotation 31")


def kinds(reading: Reading) -> list[tuple[str, str]]:
    return [(outcome.label, outcome.kind) for outcome in reading.outcomes]


def masks(reading: Reading, page: int = 0, image: str = "image") -> dict[str, Any]:
    return dict(reading.drawings[image, page].masks)


def test_each_region_has_its_outcome() -> None:
    answered = [
        region(LEFT, "red", region_id="kept"),
        region(LEFT, "red", region_id="grown"),
        region(RIGHT, "blue", region_id="gone"),
        region(RIGHT, "red", region_id="other"),
    ]
    submitted = [
        region(LEFT, "red", region_id="kept", origin="prediction"),
        region(box(0, 0, 6, 6), "red", region_id="grown", origin="prediction-changed"),
        region(RIGHT, "blue", region_id="other", origin="prediction-changed"),
        region(box(0, 0, 2, 2), "blue", region_id="new"),
    ]

    outcomes = [asdict(outcome) for outcome in read(submitted, answered).outcomes]

    def outcome(label: str, kind: str, *numbers: float, before: Any = None) -> Any:
        iou, added, removed = numbers
        return {
            "label": label,
            "kind": kind,
            "iou": iou,
            "added_px": added,
            "removed_px": removed,
            "label_before": before,
        }

    assert outcomes == [
        outcome("red", "accepted", 1.0, 0, 0),
        outcome("red", "corrected", 30 / 36, 6, 0),
        outcome("blue", "relabelled", 1.0, 0, 0, before="red"),
        outcome("blue", "drawn", 0.0, 4, 0),
        outcome("blue", "deleted", 0.0, 0, 30),
    ]


def test_an_untouched_region_is_accepted_whatever_version_is_remembered() -> None:
    answered = [region(LEFT), region(LEFT, region_id="moved")]
    submitted = [
        region(WHOLE, origin="prediction"),
        region(WHOLE, region_id="moved", origin="prediction-changed"),
    ]

    assert kinds(read(submitted, answered)) == [
        ("red", "accepted"),
        ("red", "corrected"),
    ]


def test_pixel_exact_is_accepted_though_the_editor_says_changed() -> None:
    reading = read([region(LEFT, origin="prediction-changed")], [region(LEFT)])

    assert kinds(reading) == [("red", "accepted")]


def test_nothing_known_of_the_answer_leaves_what_was_drawn() -> None:
    reading = read([region(LEFT, origin="prediction")])

    assert kinds(reading) == [("red", "drawn")]
    assert (masks(reading)["red"] == LEFT).all()


def test_regions_of_a_label_are_one_mask() -> None:
    reading = read([region(LEFT), region(RIGHT, region_id="r2")])

    assert masks(reading).keys() == {"red"}
    assert masks(reading)["red"].all()


def test_a_soft_brush_is_cut_at_half() -> None:
    edge = region(LEFT)
    alpha = np.zeros(SIZE_YX, np.uint8)
    alpha[:, :3], alpha[:, 3], alpha[:, 4] = 255, 128, 127
    values = np.repeat(alpha.ravel(), 4)
    # The stream's own words: 32 bits of count, word size, four widths, then runs.
    edge["value"] = {**edge["value"], "rle": _stream(values)}

    assert (masks(read([edge]))["red"] == box(0, 0, 6, 4)).all()


def _stream(values: np.ndarray) -> list[int]:
    """Any bytes as an editor's stream, each value a run of its own."""
    bits = f"{len(values):032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    for value in values:
        bits += "0" + "00" + "000" + f"{value:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_each_kind_of_region_gives_its_mask() -> None:
    config = """<View><Image name="image" value="$image"/>
        <BrushLabels name="brush" toName="image"><Label value="red"/></BrushLabels>
        <BitmaskLabels name="bitmask" toName="image"><Label value="cat"/>
        </BitmaskLabels>
        <PolygonLabels name="polygon" toName="image"><Label value="dog"/>
        </PolygonLabels>
        <RectangleLabels name="rectangle" toName="image"><Label value="cow"/>
        </RectangleLabels></View>"""
    shapes = {"brush": "red", "bitmask": "cat", "polygon": "dog", "rectangle": "cow"}
    submitted = [
        region(LEFT, label, shape=shape, from_name=shape, region_id=shape)
        for shape, label in shapes.items()
    ]

    found = masks(read(submitted, config=config))

    assert found.keys() == set(shapes.values())
    assert all((mask == LEFT).all() for mask in found.values())


def test_a_polygon_with_a_hole_of_ours_keeps_it() -> None:
    config = brush_config('<Label value="red"/>').replace("Brush", "Polygon")
    ring = box(0, 0, 6, 8) & ~box(2, 2, 4, 6)

    reading = read([region(ring, shape="polygon")], config=config)

    assert (masks(reading)["red"] == ring).all()


def test_a_tool_beside_its_labels_is_read_by_the_tools_name() -> None:
    config = """<View><Image name="image" value="$image"/>
        <Labels name="labels" toName="image"><Label value="red"/></Labels>
        <Brush name="brush" toName="image"/></View>"""
    named = {"from_name": "brush", "labels_from_name": "labels"}
    labelled = region(LEFT, **named)
    drawing = {**labelled, "type": "brush", "from_name": "brush"}

    reading = read([drawing, labelled], [drawing, labelled], config=config)

    assert kinds(reading) == [("red", "accepted")]
    assert (masks(reading)["red"] == LEFT).all()


def test_a_key_point_that_bears_the_mask_is_no_second_region() -> None:
    rle = encode_rle(WHOLE)
    twin = region(LEFT) | {
        "type": "keypointlabels",
        "from_name": "kp",
        "value": {"format": "rle", "rle": rle, "keypointlabels": ["blue"]},
    }

    reading = read([twin, region(LEFT), twin])

    assert kinds(reading) == [("red", "drawn")]
    assert (masks(reading)["red"] == LEFT).all()


def test_a_click_that_was_left_over_teaches_nothing() -> None:
    click = region(LEFT) | {
        "type": "keypointlabels",
        "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["red"]},
    }

    assert read([click]).outcomes == ()
    assert read([click]).drawings == {}


def test_a_picture_that_was_turned_in_the_editor_is_read_upright() -> None:
    reading = read([region(LEFT, image_rotation=90)], [region(LEFT)])

    assert kinds(reading) == [("red", "accepted")]
    assert (masks(reading)["red"] == LEFT).all()


def test_pages_are_kept_apart() -> None:
    config = RED_AND_BLUE.replace("value=", "valueList=", 1)

    reading = read(
        [
            region(LEFT, item_index=0),
            region(RIGHT, region_id="r2", item_index=2),
        ],
        config=config,
    )

    assert (masks(reading, 0)["red"] == LEFT).all()
    assert (masks(reading, 2)["red"] == RIGHT).all()


def test_labels_that_are_left_to_people_are_not_spoken_of() -> None:
    config = """<View><Image name="image" value="$image"/>
        <BrushLabels name="tag" toName="image"><Label value="red"/>
          <Label value="mud" model_skip="true"/></BrushLabels>
        <PolygonLabels name="by-hand" toName="image" model_skip="true">
          <Label value="red"/><Label value="rust"/></PolygonLabels></View>"""
    mud = region(LEFT, "mud", region_id="r2")
    rust = region(LEFT, "rust", shape="polygon", from_name="by-hand", region_id="r3")

    reading = read([region(RIGHT), mud, rust], config=config)

    assert kinds(reading) == [("red", "drawn")]
    assert masks(reading).keys() == {"red"}
    by_hand = region(LEFT, shape="polygon", from_name="by-hand")
    only_by_hand = read([by_hand], config=config)
    assert only_by_hand.outcomes == ()
    assert only_by_hand.drawings["image", 0].unknown == {"red"}


BROKEN = [
    pytest.param({"value": {"rle": [1, 2], "brushlabels": ["red"]}}, id="rle"),
    pytest.param({"original_width": -1}, id="width"),
    pytest.param({"original_width": "10"}, id="width-text"),
    pytest.param({"original_height": 10**9}, id="height"),
    pytest.param({"original_height": 7}, id="other-size"),
    pytest.param({"value": {"brushlabels": ["red"]}}, id="no-mask"),
    pytest.param({"value": {"rle": ["a"], "brushlabels": ["red"]}}, id="text-rle"),
    pytest.param({"item_index": -1}, id="page"),
    pytest.param({"item_index": "0"}, id="page-text"),
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_region_that_cannot_be_read_costs_itself_and_a_line(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken = {**region(LEFT, "red", region_id="broken"), **change}
    fine = region(RIGHT, "blue")

    reading = read([fine, broken], [region(LEFT, "red", region_id="broken")])

    assert kinds(reading) == [("blue", "drawn")]
    assert (masks(reading)["blue"] == RIGHT).all()
    assert "red" not in masks(reading)
    lines = [r.message for r in caplog.records if "'broken'" in r.message]
    assert len(lines) == 1
    assert lines[0].startswith("annotation 31:")


@pytest.mark.parametrize("change", BROKEN[:-2])
def test_a_label_with_a_region_that_cannot_be_read_is_unknown(
    change: dict[str, Any],
) -> None:
    broken = {**region(LEFT, "red", region_id="broken"), **change}

    reading = read([region(RIGHT, "red"), broken])

    drawing = reading.drawings["image", 0]
    assert drawing.unknown == {"red"}
    assert drawing.masks == {}


def test_more_regions_than_anybody_draws_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("backend.feedback.corrections._MOST_REGIONS", 2)
    reading = read([region(LEFT, region_id=f"r{n}") for n in range(3)])

    assert len(reading.outcomes) == 2
    assert "more regions than are read" in caplog.text


def test_an_answer_of_another_backend_is_no_answer_of_ours() -> None:
    theirs = region(LEFT, "red", from_name="their-tag", region_id="theirs")

    assert kinds(read([region(LEFT)], [theirs])) == [("red", "drawn")]


anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_whatever_was_stored_costs_no_other_region(data: st.DataObject) -> None:
    odd = region(LEFT, "red", region_id="odd")
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from([odd, odd["value"]]))
        if not isinstance(part, dict) or not part:
            continue
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    fine = region(RIGHT, "blue", region_id="fine")

    reading = read([fine, odd], [region(LEFT, "red", region_id="odd")])

    assert ("blue", "drawn") in kinds(reading)
    assert (masks(reading)["blue"] & RIGHT).sum() == RIGHT.sum()


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["red", "blue"])), max_size=5
    ),
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["red", "blue"])), max_size=5
    ),
)
def test_every_answered_or_submitted_region_has_one_outcome(
    before: list[tuple[int, str]], after: list[tuple[int, str]]
) -> None:
    def results(found: list[tuple[int, str]]) -> list[dict[str, Any]]:
        return [
            region(box(0, n, 3, n + 3), label, region_id=f"r{n}")
            for n, label in dict(found).items()
        ]

    reading = read(results(after), results(before))

    assert len(reading.outcomes) == len(dict(before) | dict(after))
    counts = {kind for _, kind in kinds(reading)}
    assert ("deleted" in counts) == bool(dict(before).keys() - dict(after).keys())
    assert ("drawn" in counts) == bool(dict(after).keys() - dict(before).keys())
