"""Tools that annotators ask a backend with: nothing is pre-annotated with them."""

import pytest

from backend.errors import BadLabelConfig
from backend.label_config import LabelConfig, read_label_config
from backend.types import CutOptions
from tests.fakes import defaults_of

DEFAULTS = defaults_of(CutOptions(threshold_01=0.5))


def tag(kind: str, name: str, attributes: str = "", to_name: str = "image") -> str:
    return (
        f'<{kind} name="{name}" toName="{to_name}" {attributes}>'
        f'<Label value="cat"/></{kind}>'
    )


def read(*tags: str) -> LabelConfig:
    image = '<Image name="image" value="$image"/>'
    return read_label_config(f"<View>{image}{''.join(tags)}</View>", DEFAULTS)


def drawn(config: LabelConfig) -> list[tuple[str, str]]:
    return [(control.from_name, control.shape) for control in config.controls]


BRUSH = tag("BrushLabels", "brush")


def test_the_usual_config_of_click_backends_draws_the_brush_alone() -> None:
    config = read(
        BRUSH,
        tag("KeyPointLabels", "points", 'smart="true"'),
        tag("RectangleLabels", "boxes", 'smart="true"'),
    )

    assert drawn(config) == [("brush", "brush")]
    assert config.notes == ()
    points, boxes = config.inputs
    assert points == (
        "<KeyPointLabels name='points'> is left to the annotators as a tool to ask a "
        'backend with; model_skip="false" has it pre-annotated.'
    )
    assert boxes == (
        "<RectangleLabels name='boxes'> is left to the annotators as a tool to ask a "
        "backend with, as it is smart and beside <BrushLabels name='brush'>; "
        'model_skip="false" has it pre-annotated.'
    )


@pytest.mark.parametrize(
    ("beside", "boxes", "is_drawn"),
    [
        pytest.param(BRUSH, 'smart="true"', False, id="smart-beside-brush"),
        pytest.param(BRUSH, 'smartOnly="true"', False, id="smartOnly"),
        pytest.param(BRUSH, 'Smart="true"', False, id="in-any-case"),
        pytest.param(
            tag("BitmaskLabels", "b"), 'smart="true"', False, id="smart-beside-bitmask"
        ),
        pytest.param(
            tag("Labels", "l") + '<Brush name="b" toName="image"/>',
            'smart="true"',
            False,
            id="smart-beside-a-brush-of-labels",
        ),
        pytest.param(BRUSH, "", True, id="plain-as-in-grounding-sam"),
        pytest.param(BRUSH, 'smart="false"', True, id="not-smart"),
        pytest.param(BRUSH, 'smart="true" model_skip="false"', True, id="asked-for"),
        pytest.param("", 'smart="true"', True, id="smart-alone"),
        pytest.param(
            tag("PolygonLabels", "p"), 'smart="true"', True, id="beside-polygons"
        ),
        pytest.param(
            '<Brush name="b" toName="image"/>', 'smart="true"', True, id="bare-brush"
        ),
        pytest.param(
            tag("BrushLabels", "b", 'model_skip="true"'),
            'smart="true"',
            True,
            id="beside-a-brush-that-is-skipped",
        ),
    ],
)
def test_rectangles_are_drawn_unless_they_are_marked_smart_beside_masks(
    beside: str, boxes: str, is_drawn: bool
) -> None:
    config = read(beside, tag("RectangleLabels", "boxes", boxes))

    assert (("boxes", "rectangle") in drawn(config)) is is_drawn
    assert len(config.inputs) == (not is_drawn)


def test_rectangles_are_input_on_the_image_with_masks_alone() -> None:
    config = read(
        '<Image name="other" value="$other"/>',
        BRUSH,
        tag("RectangleLabels", "boxes", 'smart="true"', to_name="image,other"),
    )

    on = [(control.from_name, control.image.name) for control in config.controls]
    assert on == [("brush", "image"), ("boxes", "other")]


def test_a_smart_rectangle_beside_labels_draws_nothing_for_them() -> None:
    config = read(
        BRUSH,
        tag("Labels", "names"),
        '<Rectangle name="box" toName="image" smart="true"/>',
    )

    assert drawn(config) == [("brush", "brush")]
    assert len(config.inputs) == 1
    (note,) = config.notes
    assert "'names'> has no <Brush>" in note


@pytest.mark.parametrize("smart", ["", 'smart="true"', 'smart="false"'])
def test_key_points_are_drawn_only_where_they_are_asked_for(smart: str) -> None:
    left = read(BRUSH, tag("KeyPointLabels", "points", smart))
    asked = read(BRUSH, tag("KeyPointLabels", "points", f'{smart} model_skip="false"'))

    assert drawn(left) == [("brush", "brush")]
    assert drawn(asked) == [("brush", "brush"), ("points", "keypoint")]
    assert asked.inputs == ()


def test_a_config_of_key_points_alone_is_refused_with_what_asks_for_them() -> None:
    with pytest.raises(BadLabelConfig, match='model_skip="false"'):
        read(tag("KeyPointLabels", "points"))


def test_fingerprint_tells_what_is_drawn_and_nothing_of_what_is_not() -> None:
    plain = read(BRUSH)
    with_points = read(BRUSH, tag("KeyPointLabels", "points", 'smart="true"'))
    asked = read(BRUSH, tag("KeyPointLabels", "points", 'model_skip="false"'))

    assert plain.fingerprint == with_points.fingerprint != asked.fingerprint


def test_fingerprint_of_a_config_that_draws_as_ever_is_as_ever() -> None:
    config = read(
        '<BrushLabels name="tag" toName="image" model_regions="part">'
        '<Label value="cat" alias="c" model_score_threshold="0.3"/>'
        '<Label value="dog"/></BrushLabels>'
        '<Labels name="l" toName="image"><Label value="cow"/></Labels>'
        '<Rectangle name="r" toName="image"/>'
    )

    assert config.fingerprint == (
        "78f055a17926f51257b365ba728ef3b839c916bb01b4a4bd491f62f77d7d1d7c"
    )
