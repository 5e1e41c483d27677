"""What is typed in the editor becomes labels of the config."""

import pytest

from backend.errors import BadTask
from backend.label_config import LabelConfig, read_label_config
from backend.label_config.typed_prompts import controls_for
from backend.types import MAX_PROMPTS, Control, CutOptions, Label, TypedPrompt
from tests.fakes import brush_config, defaults_of

DEFAULTS = defaults_of(CutOptions(threshold_01=0.5))
# As in the documents of Label Studio's Grounding SAM example.
GROUNDING_SAM = """<View>
  <Image name="image" value="$image"/>
  <View className="prompt">
  <TextArea name="prompt" toName="image" editable="true" rows="2" maxSubmissions="1"
            showSubmitButton="true"/>
  </View>
  <RectangleLabels name="label" toName="image">
    <Label value="cats" background="yellow"/>
    <Label value="house" background="blue"/>
  </RectangleLabels>
  <BrushLabels name="label2" toName="image">
    <Label value="cats" background="yellow"/>
    <Label value="house" background="blue"/>
  </BrushLabels>
</View>"""
LABELS = (
    '<Label value="cats"/><Label value="Haus" alias="H" model_prompt="house"/>'
    '<Label value="brown dog"/>'
)


def read(config: str) -> LabelConfig:
    return read_label_config(config, DEFAULTS)


def typed(text: str, to_name: str = "image") -> TypedPrompt:
    return TypedPrompt(from_name="prompt", to_name=to_name, text=text)


def labels_for(text: str, labels: str = LABELS) -> tuple[Label, ...]:
    (control,) = controls_for(read(brush_config(labels)).controls, typed(text))
    return control.labels


def drawn(text: str, labels: str = LABELS) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (label.name, label.prompts)
        for label in labels_for(text, labels)
        if label.is_drawn
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("tabby", [("cats", ("tabby",))], id="first-label-for-a-stranger"),
        pytest.param("Cat", [("cats", ("cats",))], id="the-labels-own-words"),
        pytest.param("H", [("H", ("house",))], id="alias-by-its-prompt"),
        pytest.param("red house", [("H", ("red house",))], id="a-labels-prompt-within"),
        pytest.param("Brown Dogs", [("brown dog", ("brown dog",))], id="two-words"),
        pytest.param(
            "brown dog and cat",
            [("brown dog", ("brown dog and cat",))],
            id="most-words-in-common",
        ),
        pytest.param(
            "tall thing_H", [("H", ("tall thing",))], id="named-by-underscore"
        ),
        pytest.param("a_b", [("cats", ("a_b",))], id="underscore-before-no-label"),
        pytest.param(
            "red house, tabby . siamese .",
            [("H", ("red house",)), ("cats", ("tabby", "siamese"))],
            id="several-phrases",
        ),
    ],
)
def test_controls_for_finds_the_label_of_each_phrase(
    text: str, found: list[tuple[str, tuple[str, ...]]]
) -> None:
    assert drawn(text) == found


def test_controls_for_knows_names_without_a_word_apart() -> None:
    labels = '<Label value="🐈"/><Label value="🐕"/>'

    assert drawn("🐕", labels) == [("🐕", ("🐕",))]


def test_controls_for_keeps_the_other_labels_as_rivals() -> None:
    tabby, *rivals = labels_for("tabby")

    assert tabby.presence_threshold_01 == 0
    assert [(label.name, label.is_drawn) for label in rivals] == [
        ("H", False),
        ("brown dog", False),
    ]


def test_controls_for_has_no_rival_with_the_same_words() -> None:
    both = labels_for(
        "tabby house", '<Label value="tabby"/><Label value="tabby house"/>'
    )

    assert [label.name for label in both if not label.is_drawn] == ["tabby"]
    assert labels_for("b_a", '<Label value="a"/><Label value="b"/>') == (
        Label(name="a", prompts=("b",), presence_threshold_01=0.0),
    )


def test_a_label_without_words_is_drawn_as_what_is_typed_and_is_no_rival() -> None:
    labels = '<Label value="cat"/><Label value="zork" model_prompt=""/>'

    assert drawn("zork", labels) == [("zork", ("zork",))]
    assert drawn("blue thing_zork", labels) == [("zork", ("blue thing",))]
    assert [label.name for label in labels_for("cat", labels)] == ["cat"]


def test_for_task_answers_both_controls_of_grounding_sams_config() -> None:
    config = read(GROUNDING_SAM)

    controls = config.for_task({}, typed("brown cat"))

    assert config.text_areas == {"prompt"}
    assert [(c.from_name, c.labels[0]) for c in controls] == [
        (name, Label(name="cats", prompts=("brown cat",), presence_threshold_01=0.0))
        for name in ("label", "label2")
    ]


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(typed("cat", to_name="other"), id="another-image"),
        pytest.param(typed(" , . "), id="no-phrase"),
    ],
)
def test_for_task_has_no_control_for(question: TypedPrompt) -> None:
    assert read(GROUNDING_SAM).for_task({}, question) == ()


def test_a_text_area_with_model_skip_takes_no_prompts() -> None:
    config = read(GROUNDING_SAM.replace("<TextArea", '<TextArea model_skip="true"'))

    assert config.text_areas == frozenset()


def of_task(config: LabelConfig, **data: object) -> tuple[Control, ...]:
    return config.for_task(data)


def test_for_task_shows_in_a_prompt_what_the_editor_shows_in_a_label() -> None:
    config = read(
        brush_config(
            '<Label value="$name"/><Label value="Tier" model_prompt="a $kind"/>'
        )
    )

    (control,) = of_task(config, name="cat", kind="dog")
    (without,) = of_task(config, name="", other="dog")

    assert control.labels == (
        Label(name="$name", prompts=("cat",)),
        Label(name="Tier", prompts=("a dog",)),
    )
    assert [label.prompts for label in without.labels] == [("$name",), ("a $kind",)]


def test_for_task_fills_in_labels_that_the_task_brings() -> None:
    config = read(brush_config("", 'value="$labels"'))

    (control,) = of_task(config, labels=[{"value": "$name"}], name="cat")

    assert control.labels == (Label(name="$name", prompts=("cat",)),)


def test_fingerprint_of_texts_of_the_tasks_is_not_that_of_plain_ones() -> None:
    config = read(brush_config('<Label value="$name"/>'))

    # That of 0.1.0, which looked for the text itself.
    assert config.fingerprint != (
        "618fd0893648eb79aa679044fd4508788319f1c5dd4d5bd644517f6aeab2511e"
    )


def many(count: int, prefix: str = "thing") -> str:
    return "".join(f'<Label value="{prefix} {n}"/>' for n in range(count))


TEXTS = ",".join(f"thing {n}" for n in range(3000))


def two_controls(first: str, second: str, attributes: str = "") -> str:
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="a" toName="image">{first}</BrushLabels>'
        f'<PolygonLabels name="b" toName="image" {attributes}>{second}</PolygonLabels>'
        "</View>"
    )


def test_read_label_config_takes_as_many_labels_as_can_be_cached() -> None:
    (control,) = read(brush_config(many(MAX_PROMPTS))).controls

    assert len(control.labels) == MAX_PROMPTS


@pytest.mark.parametrize(
    ("config", "count"),
    [
        pytest.param(brush_config(many(5000)), 5000, id="one-control"),
        pytest.param(
            two_controls(many(1500), many(1500, "other")), 3000, id="two-controls"
        ),
        pytest.param(
            brush_config(f'<Label value="all" predicted_values="{TEXTS}"/>'),
            3000,
            id="texts-of-one-label",
        ),
    ],
)
def test_read_label_config_refuses_more_labels_than_can_be_looked_for(
    config: str, count: int
) -> None:
    with pytest.raises(Exception, match=f"has {count} different labels") as caught:
        read(config)

    assert f"at most {MAX_PROMPTS} can be looked for" in str(caught.value)
    assert 'model_skip="true"' in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(two_controls(many(1500), many(1500)), id="the-same-labels"),
        pytest.param(
            two_controls(many(1500), many(1500, "other"), 'model_mode="paper"'),
            id="in-another-mode",
        ),
        pytest.param(
            two_controls(many(1500), many(1500, "other"), 'model_skip="true"'),
            id="skipped",
        ),
    ],
)
def test_read_label_config_counts_what_one_reading_looks_for(config: str) -> None:
    assert read(config).controls


def test_for_task_refuses_a_task_that_brings_too_many_labels() -> None:
    config = read(brush_config("", 'value="$labels"'))
    entries = [{"value": f"thing {n}"} for n in range(5000)]

    with pytest.raises(BadTask, match=f"has 5000 different.*at most {MAX_PROMPTS}"):
        config.for_task({"labels": entries})
