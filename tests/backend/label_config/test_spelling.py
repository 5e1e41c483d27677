"""Names of tags and attributes in any case: the editor's reading and the server's.

What is painted has to pass strict validation, and no label or control is dropped in
silence.
"""

from xml.etree import ElementTree

import pytest

from backend.errors import BadLabelConfig
from backend.label_config import LabelConfig, labels_by_control, read_label_config
from backend.types import CutOptions, ImageTag
from tests.fakes import defaults_of

DEFAULTS = defaults_of(CutOptions(threshold_01=0.5))
IMAGE = '<Image name="image" value="$image"/>'


def read(*tags: str) -> LabelConfig:
    return read_label_config(f"<View>{''.join(tags)}</View>", DEFAULTS)


def brush(labels: str, attributes: str = 'name="tag" toName="image"') -> str:
    return f"<BrushLabels {attributes}>{labels}</BrushLabels>"


def names_of(config: LabelConfig) -> list[str]:
    return [label.name for control in config.controls for label in control.labels]


def problems_of(config: LabelConfig) -> list[str]:
    """What strict validation says of a region of each label."""
    result = [
        {
            "from_name": control.from_name,
            "to_name": control.image.name,
            "type": "brushlabels",
            "value": {"format": "rle", "rle": [1], "brushlabels": [label.name]},
        }
        for control in config.controls
        for label in control.labels
    ]
    return config.problems({"result": result, "score": 0.5})


@pytest.mark.parametrize(
    ("labels", "painted"),
    [
        pytest.param(
            '<label value="cat"/><Label Value="cow"/>', ["cat", "cow"], id="both-odd"
        ),
        pytest.param('<LABEL VALUE="cat"/>', ["cat"], id="capitals"),
        pytest.param("<Label>cat</Label>", ["cat"], id="text-inside"),
        pytest.param('<label value="cat" Alias="c"/>', ["c"], id="alias"),
    ],
)
def test_labels_that_validation_knows_none_of_are_painted_and_named(
    labels: str, painted: list[str]
) -> None:
    config = read(IMAGE, brush(labels))

    assert names_of(config) == painted
    assert problems_of(config) == []
    (note,) = config.notes
    assert "editor reads and its server and exports do not" in note
    assert 'write <Label value="...">' in note


@pytest.mark.parametrize(
    ("odd", "shown"),
    [
        pytest.param('<label value="cat"/>', '<label value="cat">', id="tag"),
        pytest.param('<Label Value="cat"/>', '<Label Value="cat">', id="attribute"),
        pytest.param("<Label>cat</Label>", "<Label>", id="text-inside"),
        pytest.param(
            '<Label value="x">cat</Label>', '<Label value="x">', id="text-over-value"
        ),
    ],
)
def test_one_misspelt_label_of_several_is_left_out_by_name(
    odd: str, shown: str
) -> None:
    config = read(IMAGE, brush(f'<Label value="dog"/>{odd}<Label value="cow"/>'))

    assert names_of(config) == ["dog", "cow"]
    assert problems_of(config) == []
    (note,) = config.notes
    assert "has labels that are left out" in note
    assert shown in note


def test_an_alias_in_another_case_is_answered_by_the_value_and_named() -> None:
    config = read(IMAGE, brush('<Label value="cat" ALIAS="c"/><Label value="dog"/>'))

    assert names_of(config) == ["cat", "dog"]
    assert problems_of(config) == []
    (note,) = config.notes
    assert '<Label value="cat" ALIAS="c">' in note


def test_a_note_breaks_off_after_five_labels() -> None:
    config = read(IMAGE, brush("".join(f'<label value="{n}"/>' for n in range(9))))

    (note,) = config.notes
    assert '<label value="4"> and 4 more;' in note


def test_a_label_without_any_value_beside_others_is_named() -> None:
    config = read(IMAGE, brush('<Label background="red"/><Label value="cat"/>'))

    assert names_of(config) == ["cat"]
    (note,) = config.notes
    assert "has a label without a name" in note


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        pytest.param(
            'name="tag" toname="image"', 'write name="tag" toName="image"', id="toname"
        ),
        pytest.param(
            'Name="tag" toName="image"', 'write name="tag" toName="image"', id="Name"
        ),
        pytest.param('name="tag"', 'has no toName; write toName="image"', id="none"),
    ],
)
def test_a_control_that_validation_does_not_know_is_left_out_by_name(
    attributes: str, told: str
) -> None:
    other = (
        '<PolygonLabels name="p" toName="image"><Label value="dog"/></PolygonLabels>'
    )
    odd = brush('<Label value="cat"/>', attributes)

    config = read(IMAGE, odd, other)

    assert names_of(config) == ["dog"]
    (note,) = config.notes
    assert note.startswith("<BrushLabels name='tag'> is left out")
    assert told in note
    with pytest.raises(BadLabelConfig, match="is left out") as caught:
        read(IMAGE, odd)
    assert told in str(caught.value)


@pytest.mark.parametrize("element", ["image", "IMAGE"])
def test_an_image_that_the_editor_refuses_is_painted_and_named(element: str) -> None:
    config = read(IMAGE.replace("Image", element), brush('<Label value="cat"/>'))

    assert names_of(config) == ["cat"]
    (note,) = config.notes
    assert note.startswith(
        f"<{element} name='image'> has another spelling than <Image>"
    )
    assert "editor refuses" in note


def test_an_image_whose_value_validation_does_not_read_is_named_in_the_refusal() -> (
    None
):
    with pytest.raises(BadLabelConfig, match=r"has no <Image> tag \(<Image") as caught:
        read('<Image name="image" Value="$image"/>', brush('<Label value="cat"/>'))

    assert 'write <Image name="..." value="$...">' in str(caught.value)


def test_pages_are_found_in_any_case() -> None:
    config = read(
        '<Image name="image" value="$one" valuelist="$pages"/>',
        brush('<Label value="cat"/>'),
    )

    (control,) = config.controls
    assert control.image == ImageTag(name="image", value="$pages", is_list=True)


def test_attributes_of_ours_are_read_in_any_case() -> None:
    config = read(
        IMAGE,
        brush(
            '<Label value="cat"/><Label value="dog" Model_Skip="true"/>',
            'name="tag" toName="image" Model_Score_Threshold="0.3"',
        ),
    )

    (control,) = config.controls
    assert names_of(config) == ["cat"]
    assert control.cut.threshold_01 == 0.3


def test_labels_by_control_has_a_label_under_both_of_its_names() -> None:
    root = ElementTree.fromstring(brush('<Label value="cat" ALIAS="c"/>'))

    assert set(labels_by_control(root)["tag"]) == {"cat", "c"}


@pytest.mark.parametrize("wand", ["MagicWand", "magicwand"])
def test_labels_beside_a_wand_alone_are_refused_with_the_tag_to_add(wand: str) -> None:
    labels = '<Labels name="labels" toName="image"><Label value="cat"/></Labels>'
    tool = f'<{wand} name="wand" toName="image"/>'

    with pytest.raises(BadLabelConfig) as caught:
        read(labels, tool, IMAGE)
    with_brush = read(labels, tool, IMAGE, '<Brush name="brush" toName="image"/>')

    assert "<MagicWand> alone will not do" in str(caught.value)
    assert 'add <Brush name="brush" toName="image"/>' in str(caught.value)
    assert [control.from_name for control in with_brush.controls] == ["brush"]
    assert with_brush.notes == ()


@pytest.mark.parametrize(
    ("image", "field"),
    [
        pytest.param('value="$image-url"', "'image' and adds '-url'", id="value"),
        pytest.param('valueList="$page-urls"', "'page' and adds '-urls'", id="list"),
    ],
)
def test_an_image_field_that_no_reference_can_spell_is_named(
    image: str, field: str
) -> None:
    config = read(f'<Image name="image" {image}/>', brush('<Label value="cat"/>'))

    (note,) = config.notes
    assert f"reads the field {field}" in note


def test_a_field_of_labels_that_no_reference_can_spell_is_named() -> None:
    config = read(IMAGE, '<BrushLabels name="t" toName="image" value="$my-labels"/>')

    (note,) = config.notes
    assert "reads the field 'my' and adds '-labels'" in note
