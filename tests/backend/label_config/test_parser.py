import logging
import time

import pytest

from backend.errors import BadLabelConfig
from backend.label_config.parser import EXAMPLE, LabelConfig, read_label_config
from backend.types import Control, CutOptions, ImageTag, Label
from tests.fakes import brush_config, defaults_of

CUT = CutOptions(threshold_01=0.5)
DEFAULTS = defaults_of(CUT)

CHINESE = "斑马"
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"


def read(config: str) -> LabelConfig:
    return read_label_config(config, DEFAULTS)


def read_one(config: str) -> Control:
    (control,) = read(config).controls
    return control


def labels_of(config: str) -> tuple[Label, ...]:
    return read_one(config).labels


def refusal_of(config: str) -> str:
    with pytest.raises(BadLabelConfig) as caught:
        read(config)
    return str(caught.value)


def test_read_label_config_reads_names_key_and_labels_in_order() -> None:
    control = read_one(
        '<View><Image name="photo" value="$picture"/>'
        '<BrushLabels name="brush" toName="photo">'
        '<Label value="zebra"/><Label value="apple"/></BrushLabels></View>'
    )

    assert control.from_name == "brush"
    assert control.image == ImageTag(name="photo", value="$picture")
    assert control.shape == "brush"
    assert [label.name for label in control.labels] == ["zebra", "apple"]
    assert control.cut == CUT
    assert control.mode == "fast"


def test_read_label_config_reads_its_own_example() -> None:
    assert [label.name for label in labels_of(EXAMPLE)] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("tag", "label"),
    [
        pytest.param(
            '<Label value="cat"/>', Label(name="cat", prompts=("cat",)), id="value"
        ),
        pytest.param(
            '<Label value="cat" alias="c"/>',
            Label(name="c", prompts=("cat",)),
            id="alias",
        ),
        pytest.param(
            '<Label value="Fido" model_prompt="brown dog"/>',
            Label(name="Fido", prompts=("brown dog",)),
            id="model_prompt",
        ),
        pytest.param(
            '<Label value="Fido" alias="f" model_prompt="dog"/>',
            Label(name="f", prompts=("dog",)),
            id="alias-and-model_prompt",
        ),
        pytest.param(
            '<Label value="" alias="c"/>',
            Label(name="c", prompts=("c",)),
            id="alias-without-value",
        ),
        pytest.param(
            '<Label value=" cat "/>',
            Label(name=" cat ", prompts=("cat",)),
            id="blanks-stay-in-the-answer-only",
        ),
        pytest.param(
            '<Label value="cat" model_score_threshold="0.3"/>',
            Label(name="cat", prompts=("cat",), threshold_01=0.3),
            id="threshold",
        ),
        pytest.param(
            '<Label value="cat" model_score_threshold=" "/>',
            Label(name="cat", prompts=("cat",)),
            id="blank-threshold",
        ),
        pytest.param(
            '<Label value="cat" background="#fff" wibble="3"/>',
            Label(name="cat", prompts=("cat",)),
            id="attributes-that-nobody-knows",
        ),
        pytest.param(
            '<Label value="a &lt;b&gt; &amp; &quot;c&quot;"/>',
            Label(name='a <b> & "c"', prompts=('a <b> & "c"',)),
            id="entities",
        ),
    ],
)
def test_read_label_config_reads_a_label(tag: str, label: Label) -> None:
    assert labels_of(brush_config(tag)) == (label,)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\N{CAT FACE}", id="emoji"),
        pytest.param(FAMILY, id="joined-emoji"),
        pytest.param(CHINESE, id="chinese"),
        pytest.param("x" * 300, id="300-characters"),
        pytest.param("a, b", id="comma"),
        pytest.param("$cat", id="dollar"),
    ],
)
def test_read_label_config_keeps_a_name_as_it_is(name: str) -> None:
    assert labels_of(brush_config(f'<Label value="{name}"/>')) == (
        Label(name=name, prompts=(name,)),
    )


def test_read_label_config_reads_300_labels() -> None:
    tags = "".join(f'<Label value="label {n}"/>' for n in range(300))

    assert [label.name for label in labels_of(brush_config(tags))] == [
        f"label {n}" for n in range(300)
    ]


@pytest.mark.parametrize(
    "unnamed",
    [
        pytest.param('<Label value=""/>', id="empty"),
        pytest.param('<Label value="  "/>', id="blank"),
        pytest.param('<Label value="&#160;"/>', id="no-break-space"),
        pytest.param('<Label value="&#8203;"/>', id="zero-width-space"),
    ],
)
def test_read_label_config_leaves_out_a_label_without_a_name_and_says_so(
    unnamed: str,
) -> None:
    config = read(brush_config(unnamed + '<Label value="cat"/>'))

    (control,) = config.controls
    assert [label.name for label in control.labels] == ["cat"]
    (note,) = config.notes
    assert "has a label without a name" in note


def test_read_label_config_takes_a_repeated_label_once() -> None:
    config = brush_config(
        '<Label value="cat"/><Label value="dog"/><Label value="cat"/>'
    )

    assert [label.name for label in labels_of(config)] == ["cat", "dog"]


def test_read_label_config_reads_several_controls_on_several_images() -> None:
    controls = read(
        "<View>"
        '<Image name="left" value="$a"/><Image name="right" value="$b"/>'
        '<BrushLabels name="x" toName="left"><Label value="cat"/></BrushLabels>'
        '<BrushLabels name="y" toName="right"><Label value="dog"/></BrushLabels>'
        '<BrushLabels name="z" toName="left,right"><Label value="cow"/></BrushLabels>'
        "</View>"
    ).controls

    assert [(c.from_name, c.image.name, c.image.value) for c in controls] == [
        ("x", "left", "$a"),
        ("y", "right", "$b"),
        ("z", "left", "$a"),
        ("z", "right", "$b"),
    ]


def test_read_label_config_leaves_other_controls_and_objects_alone() -> None:
    config = read(
        '<View><Header value="Paint"/><Style>.x { color: red }</Style><!-- note -->'
        '<Text name="text" value="$text"/><Image name="image" value="$image"/>'
        '<EllipseLabels name="oval" toName="image"><Label value="cat"/>'
        "</EllipseLabels>"
        '<KeyPointLabels name="dot" toName="image"><Label value="cat"/>'
        "</KeyPointLabels>"
        '<Labels name="span" toName="text"><Label value="cat"/></Labels>'
        '<Brush name="bare" toName="image"/>'
        '<Choices name="mood" toName="text"><Choice value="good"/></Choices>'
        '<View className="x"><BrushLabels name="tag" toName="image">'
        '<Label value="dog"/></BrushLabels></View></View>'
    )

    assert [control.from_name for control in config.controls] == ["tag"]
    assert config.notes == ()


def test_read_label_config_bears_an_xml_declaration() -> None:
    declaration = ' <?xml version="1.0" encoding="utf-8"?>\n'

    labels = labels_of(declaration + brush_config(f'<Label value="{CHINESE}"/>'))

    assert [label.name for label in labels] == [CHINESE]


def test_read_label_config_reads_the_threshold_of_a_control() -> None:
    control = read_one(
        brush_config('<Label value="cat"/>', control='model_score_threshold="0.7"')
    )

    assert control.cut == CutOptions(threshold_01=0.7)


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "1.5", "50%", "half", "nan", "inf"])
def test_read_label_config_names_a_bad_threshold(text: str) -> None:
    on_label = f'<Label value="cat" model_score_threshold="{text}"/>'
    on_control = f'model_score_threshold="{text}"'

    of_label = refusal_of(brush_config(on_label))
    of_control = refusal_of(brush_config('<Label value="cat"/>', control=on_control))

    assert f"model_score_threshold={text!r} on <Label> 'cat' of 'tag'" in of_label
    assert f"model_score_threshold={text!r} on <BrushLabels name='tag'>" in of_control


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param("<View></View>", "has no <Image> tag", id="nothing"),
        pytest.param(
            '<View><Image name="image" value="$image"/></View>',
            "has no <BrushLabels>, <BitmaskLabels>, <PolygonLabels>",
            id="no-brush",
        ),
        pytest.param(
            '<View><Text name="t" value="$t"/><BrushLabels name="tag" toName="t">'
            '<Label value="cat"/></BrushLabels></View>',
            "has no <Image> tag",
            id="brush-on-text",
        ),
        pytest.param(
            '<View><Image name="image" value="$image"/>'
            '<BrushLabels name="tag" toName="imag"><Label value="cat"/></BrushLabels>'
            "</View>",
            "whose toName is an <Image>",
            id="misspelt-toName",
        ),
        pytest.param(brush_config(""), "'tag'> has no named label", id="no-labels"),
        pytest.param(
            brush_config('<Label value=""/>'), "with a named <Label>", id="no-names"
        ),
        pytest.param(
            brush_config('<Label value="cat"/>').replace("$image", "a.png"),
            "'a.png', which names no field of the task",
            id="image-without-a-field",
        ),
        pytest.param(
            brush_config('<Label value="cat"/>').replace("$image", "$"),
            "'$', which names no field of the task",
            id="image-with-a-dollar-alone",
        ),
        pytest.param("<View><Image", "cannot be read", id="broken-xml"),
        pytest.param("a cat and a dog", "cannot be read", id="prose"),
        pytest.param(brush_config("\udc80"), "cannot be read", id="half-a-character"),
        pytest.param("<View>" * 9000, "cannot be read", id="deeply-nested"),
    ],
)
def test_read_label_config_refuses_and_shows_a_config_that_works(
    config: str, told: str
) -> None:
    message = refusal_of(config)

    assert told in message
    assert message.endswith(EXAMPLE)


def test_read_label_config_refuses_an_entity_bomb_at_once() -> None:
    entities = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' if n else '<!ENTITY e0 "ha">'
        for n in range(12)
    )
    bomb = f"<!DOCTYPE View [{entities}]>" + brush_config('<Label value="&e11;"/>')
    started = time.monotonic()

    message = refusal_of(bomb)

    assert "cannot be read" in message
    assert time.monotonic() - started < 2


def test_read_label_config_reads_no_file_for_an_entity(tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    entity = f'<!DOCTYPE View [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    in_text = entity + brush_config('<Label value="cat">&x;</Label>')
    in_attribute = entity + brush_config('<Label value="&x;"/>')

    try:
        found = str(read(in_text).controls)
    except BadLabelConfig as error:
        found = str(error)

    assert "s3cret" not in found
    assert "s3cret" not in refusal_of(in_attribute)


def test_read_label_config_is_silent_about_a_good_config(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        config = read(EXAMPLE)

    assert config.notes == ()
    assert caplog.records == []
