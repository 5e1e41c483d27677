"""Which tags of a label config belong together, and which are left alone."""

import pytest

from backend.errors import BadLabelConfig, BadTask
from backend.label_config.parser import LabelConfig, read_label_config
from backend.types import Control, CutOptions, ImageTag, Label
from tests.fakes import brush_config, defaults_of

CUT = CutOptions(threshold_01=0.5)
DEFAULTS = defaults_of(CUT)
IMAGE = '<Image name="image" value="$image"/>'
CAT = Label(name="cat", prompts=("cat",))
DOG = Label(name="dog", prompts=("dog",))


def read(*tags: str) -> LabelConfig:
    return read_label_config(f"<View>{''.join(tags)}</View>", DEFAULTS)


def tag(kind: str, name: str, attributes: str = "", labels: str = "cat") -> str:
    inside = "".join(f'<Label value="{label}"/>' for label in labels.split(","))
    return f'<{kind} name="{name}" toName="image" {attributes}>{inside}</{kind}>'


def tool(kind: str, attributes: str = "") -> str:
    return f'<{kind} name="{kind.lower()}" toName="image" {attributes}/>'


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("BrushLabels", "brush"),
        ("BitmaskLabels", "bitmask"),
        ("PolygonLabels", "polygon"),
        ("RectangleLabels", "rectangle"),
    ],
)
def test_read_label_config_reads_every_kind_of_region(kind: str, shape: str) -> None:
    (control,) = read(IMAGE, tag(kind, "tag")).controls

    assert control == Control(
        from_name="tag",
        image=ImageTag(name="image", value="$image"),
        shape=shape,  # type: ignore[arg-type]
        labels=(CAT,),
        mode="fast",
        cut=CUT,
    )


@pytest.mark.parametrize("kind", ["Brush", "Bitmask", "Polygon", "Rectangle"])
def test_read_label_config_pairs_labels_with_their_tool(kind: str) -> None:
    config = read(tool(kind), IMAGE, tag("Labels", "names"))

    (control,) = config.controls

    assert control.from_name == control.shape == kind.lower()
    assert control.labels_from_name == "names"
    assert control.labels == (CAT,)


def test_read_label_config_takes_one_of_several_tools() -> None:
    tools = [tool("Rectangle"), tool("Polygon"), tool("Brush")]
    skipping = [tool("Rectangle"), tool("Polygon"), tool("Brush", 'model_skip="true"')]

    (brush,) = read(IMAGE, tag("Labels", "names"), *tools).controls
    (polygon,) = read(IMAGE, tag("Labels", "names"), *skipping).controls

    assert (brush.shape, polygon.shape) == ("brush", "polygon")


def test_read_label_config_takes_the_first_of_two_brushes() -> None:
    brushes = ['<Brush name="a" toName="image"/>', '<Brush name="b" toName="image"/>']

    (control,) = read(IMAGE, tag("Labels", "names"), *brushes).controls

    assert control.from_name == "a"


def test_read_label_config_reads_attributes_of_the_tool_and_of_its_labels() -> None:
    (control,) = read(
        IMAGE,
        tag("Labels", "names", 'model_regions="part" model_score_threshold="0.3"'),
        tool("Brush", 'model_score_threshold="0.4"'),
    ).controls

    assert control.cut == CutOptions(threshold_01=0.4, regions="part")


def test_read_label_config_says_that_labels_lack_a_tool() -> None:
    config = read(IMAGE, tag("Labels", "names"), tag("BrushLabels", "brush"))

    assert [control.from_name for control in config.controls] == ["brush"]
    assert config.notes == (
        "<Labels name='names'> has no <Brush>, <Bitmask>, <Polygon> or <Rectangle> "
        "beside it.",
    )


def test_read_label_config_leaves_out_what_is_to_be_skipped() -> None:
    config = read(
        IMAGE,
        tag("BrushLabels", "brush", labels="cat,dog"),
        tag("PolygonLabels", "polygon", 'model_skip="true"'),
        '<RectangleLabels name="box" toName="image"><Label value="cat" '
        'model_skip="1"/><Label value="dog"/></RectangleLabels>',
    )

    assert [(c.from_name, c.labels) for c in config.controls] == [
        ("brush", (CAT, DOG)),
        ("box", (DOG,)),
    ]
    assert config.notes == (
        "<PolygonLabels name='polygon'> has model_skip.",
        "<RectangleLabels name='box'> has model_skip on its label 'cat'.",
    )


def test_read_label_config_reads_tags_in_any_case_and_nesting() -> None:
    (control,) = read(
        "<View><View>",
        IMAGE.replace("Image", "image"),
        '</View><Collapse><Panel value="p">',
        '<brushlabels name="tag" toName="image"><View><Label value="cat"/></View>'
        "</brushlabels>",
        "</Panel></Collapse></View>",
    ).controls

    assert control.labels == (CAT,)


def test_read_label_config_reads_pages() -> None:
    (control,) = read(
        '<Image name="image" valueList="$pages"/>', tag("BrushLabels", "tag")
    ).controls

    assert control.image == ImageTag(name="image", value="$pages", is_list=True)


def test_read_label_config_looks_for_all_labels_that_share_an_alias() -> None:
    (control,) = read(
        IMAGE,
        '<BrushLabels name="tag" toName="image"><Label value="cat" alias="pet"/>'
        '<Label value="dog" alias="pet" model_skip="true"/>'
        '<Label value="hamster" alias="pet"/></BrushLabels>',
    ).controls

    assert control.labels == (Label(name="pet", prompts=("cat", "hamster")),)


def test_read_label_config_notes_misspelt_attributes() -> None:
    config = read(
        IMAGE,
        '<BrushLabels name="tag" toName="image" model_score_treshold="0.3" '
        'model_path="yolo.pt"><Label value="cat" model_promt="dog"/></BrushLabels>',
    )

    assert config.notes == (
        "<BrushLabels name='tag'> has an attribute that is not known: model_path "
        "(another backend's; here MODEL chooses the model, for all projects).",
        "<BrushLabels name='tag'> has an attribute that is not known: model_promt "
        "(did you mean model_prompt?).",
        "<BrushLabels name='tag'> has an attribute that is not known: "
        "model_score_treshold (did you mean model_score_threshold?).",
    )


TWINS = (
    '<Label value="car"/><Label value="auto" model_prompt="car"/><Label value="cat"/>'
)


def test_read_label_config_notes_labels_with_the_same_prompt() -> None:
    exclusive = read(
        IMAGE, f'<BrushLabels name="tag" toName="image">{TWINS}</BrushLabels>'
    )
    independent = read(
        IMAGE,
        '<BrushLabels name="tag" toName="image" model_overlap="independent">'
        f"{TWINS}</BrushLabels>",
    )

    (note,) = exclusive.notes
    assert "looks for 'auto' with the same words as for 'car'" in note
    assert independent.notes == ()


REPEATER = (
    '<Repeater on="$images" indexFlag="{{i}}">'
    '<Image name="image_{{i}}" value="$images[{{i}}].url"/>'
    '<BrushLabels name="tag_{{i}}" toName="image_{{i}}"><Label value="cat"/>'
    "</BrushLabels></Repeater>"
)


def test_read_label_config_refuses_a_repeater_and_names_what_to_use() -> None:
    with pytest.raises(BadLabelConfig, match=r"<Repeater>.*valueList"):
        read(REPEATER)


def test_read_label_config_notes_a_repeater_beside_a_control() -> None:
    config = read(IMAGE, tag("BrushLabels", "tag"), REPEATER)

    assert [control.from_name for control in config.controls] == ["tag"]
    (note,) = config.notes
    assert "'tag_{{i}}'> is inside a <Repeater>" in note


DYNAMIC = read(IMAGE, '<BrushLabels name="tag" toName="image" value="$names"/>')


def test_for_task_takes_labels_from_the_tasks_data() -> None:
    entries = [
        {"value": "cat", "background": "#f00"},
        {"value": "Hund", "alias": "H", "predicted_values": "dog,puppy"},
        {"value": "fly", "model_skip": "true"},
        {"value": "cat"},
        "a text, which the editor does not show as a label",
        {"value": "half \ud800"},
        {"value": "fox", "predicted_values": ["red fox", 7, None, ["deep"]]},
        {"value": ""},
        None,
    ]

    (control,) = DYNAMIC.for_task({"names": entries})

    assert control.labels == (
        CAT,
        Label(name="H", prompts=("dog", "puppy")),
        Label(name="fox", prompts=("red fox", "7")),
    )


@pytest.mark.parametrize("names", [None, "cat", [], {"value": "cat"}, ["cat"]])
def test_for_task_has_no_control_without_labels(names: object) -> None:
    assert DYNAMIC.for_task({"names": names}) == ()


def test_for_task_names_a_bad_threshold_in_the_data() -> None:
    entry = {"value": "cat", "model_score_threshold": 2}

    with pytest.raises(
        BadTask, match=r"labels of its own.*='2' on label 'cat' in \$names"
    ):
        DYNAMIC.for_task({"names": [entry]})


def test_for_task_keeps_to_the_configs_labels_where_there_are_both() -> None:
    config = read(IMAGE, tag("BrushLabels", "tag", 'value="$names"', labels="dog"))

    (control,) = config.for_task({"names": [{"value": "cat"}]})

    assert control.labels == (DOG,)
    (note,) = config.notes
    assert "those in $names of the tasks are not used" in note


def test_an_empty_prompt_is_a_label_without_words() -> None:
    config = read_label_config(
        brush_config(
            '<Label value="cat"/><Label value="zork" model_prompt=""/>'
            '<Label value="blik" model_prompt="" model_score_threshold="0.3"/>'
            '<Label value="part" model_prompt="" predicted_values="screw,nut"/>'
            '<Label value="dog" model_prompt=" "/>'
        ),
        DEFAULTS,
    )

    (control,) = config.controls
    assert [(label.name, label.prompts) for label in control.labels] == [
        ("cat", ("cat",)),
        ("zork", ()),
        ("blik", ()),
        ("part", ("screw", "nut")),
        ("dog", ("dog",)),
    ]
    assert control.labels[2].threshold_01 == 0.3
    assert config.notes == ()
    worded = read_label_config(brush_config('<Label value="zork"/>'), DEFAULTS)
    wordless = brush_config('<Label value="zork" model_prompt=""/>')
    assert worded.fingerprint != read_label_config(wordless, DEFAULTS).fingerprint


def test_a_task_may_bring_labels_without_words() -> None:
    config = read_label_config(
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image" value="$names"/></View>',
        DEFAULTS,
    )

    (control,) = config.for_task({"names": [{"value": "zork", "model_prompt": ""}]})

    assert [(label.name, label.prompts) for label in control.labels] == [("zork", ())]


def test_fingerprint_follows_what_changes_a_region_and_nothing_else() -> None:
    plain = read(IMAGE, tag("BrushLabels", "tag"))
    coloured = read(
        '<Header value="Hello"/>',
        IMAGE,
        '<BrushLabels name="tag" toName="image"><Label value="cat" hotkey="c"/>'
        "</BrushLabels>",
    )
    other_label = read(IMAGE, tag("BrushLabels", "tag", labels="cat,dog"))
    other_threshold = read(
        IMAGE, tag("BrushLabels", "tag", 'model_score_threshold="0.4"')
    )

    assert plain.fingerprint == coloured.fingerprint
    changed = {plain.fingerprint, other_label.fingerprint, other_threshold.fingerprint}
    assert len(changed) == 3


def test_problems_are_those_of_label_studios_own_validation() -> None:
    config = read(IMAGE, tag("BrushLabels", "tag"))
    region = {
        "from_name": "tag",
        "to_name": "image",
        "type": "brushlabels",
        "value": {"format": "rle", "rle": [1], "brushlabels": ["cat"]},
    }
    unknown = {**region, "value": {**region["value"], "brushlabels": ["dog"]}}

    assert config.problems({"result": [region], "score": 0.5}) == []
    (problem,) = config.problems({"result": [region, unknown], "score": 0.5})
    assert problem.startswith("Region 1:")
