from dataclasses import replace

import pytest

from backend.doctor.findings import Finding
from backend.doctor.labels import check_label_config
from backend.doctor.project import Project
from backend.label_config import LabelConfig
from backend.types import CutOptions
from tests.backend.doctor.checks import outcome
from tests.fakes import brush_config, defaults_of

PROJECT = Project(
    id=7,
    title="Boats",
    label_config="",
    shows_predictions=True,
    predicts_when_listed=False,
)
CUT = defaults_of(CutOptions(threshold_01=0.6))


def check(label_config: str) -> tuple[list[Finding], LabelConfig | None]:
    project = replace(PROJECT, label_config=label_config)
    return outcome(check_label_config(project, CUT))


def test_check_label_config_says_how_each_label_is_looked_for() -> None:
    labels = (
        '<Label value="Katze" predicted_values="cat, kitten" '
        'model_score_threshold="0.4"/><Label value="dog"/>'
    )

    (finding,), config = check(brush_config(labels))

    assert config is not None
    assert finding.level == "ok"
    assert finding.seen == (
        "'tag' draws brush regions on 'image' ($image), one per label, exclusive, read "
        "in fast mode"
    )
    assert finding.details == (
        "'Katze' is looked for as 'cat' and 'kitten', threshold 0.4",
        "'dog' is looked for as 'dog', threshold 0.6",
    )


def test_check_label_config_has_a_finding_for_each_control() -> None:
    (brush, polygon), _ = check(
        '<View><Image name="a" value="$a"/><Image name="b" valueList="$b"/>'
        '<BrushLabels name="x" toName="a" model_overlap="independent" '
        'model_regions="part"><Label value="cat"/></BrushLabels>'
        '<PolygonLabels name="y" toName="b"><Label value="cat"/></PolygonLabels>'
        "</View>"
    )

    assert "one per connected part, independent" in brush.seen
    assert "'y' draws polygon regions on 'b' ($b), one per connected part" in (
        polygon.seen
    )


def test_check_label_config_says_what_is_left_out_and_why() -> None:
    labels = '<Label value="cat"/><Label value="dog" model_skip="true"/>'

    (_, left_out), _ = check(brush_config(labels))

    assert left_out.level == "ok"
    assert left_out.seen == "left out:"
    assert "model_skip on its label 'dog'" in left_out.details[0]


def test_check_label_config_says_which_tools_are_left_to_ask_with() -> None:
    (_, left_out), _ = check(
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image"><Label value="cat"/></BrushLabels>'
        '<KeyPointLabels name="kp" toName="image"><Label value="cat"/>'
        "</KeyPointLabels></View>"
    )

    assert left_out.level == "ok"
    assert left_out.seen == "left out:"
    (line,) = left_out.details
    assert "<KeyPointLabels name='kp'> is left to the annotators" in line
    assert 'model_skip="false"' in line


@pytest.mark.parametrize("name", ["model_score_threshold", "Score_Threshold"])
def test_check_label_config_says_what_the_yolo_examples_attribute_means_here(
    name: str,
) -> None:
    on_control, _ = check(brush_config('<Label value="cat"/>', f'{name}="0.25"'))
    on_label, _ = check(brush_config(f'<Label value="cat" {name}="0.25"/>'))

    assert "it is the confidence of a detection" in on_control[0].details[-1]
    assert len(on_label[0].details) == 1


@pytest.mark.parametrize(
    ("label_config", "note"),
    [
        pytest.param(
            brush_config('<Label value="cat"/><Label value="Cat" model_prompt="cat"/>'),
            "with the same words as for 'cat'",
            id="twins",
        ),
        pytest.param(
            brush_config('<Label value="cat"/>', 'model_skp="true"'),
            "model_skp",
            id="unknown-attribute-that-is-nearly-model_skip",
        ),
        pytest.param(
            brush_config('<Label value="cat"/>', 'model_obb="true"'),
            "model_obb (another backend's; boxes are upright here)",
            id="attribute-of-another-backend",
        ),
        pytest.param(
            brush_config('<Label value="cat"/><label value="dog"/>'),
            '<label value="dog">',
            id="label-in-another-case",
        ),
        pytest.param(
            brush_config('<Label value="cat"/>').replace("$image", "$image-url"),
            "reads the field 'image' and adds '-url'",
            id="field-with-a-dash",
        ),
        pytest.param(
            brush_config('<Label value="cat"/><Label value=" "/>'),
            "has a label without a name",
            id="no-name",
        ),
        pytest.param(
            brush_config('<Label value="cat"/>', 'value="$labels"'),
            "are not used",
            id="dynamic-labels",
        ),
        pytest.param(
            '<View><Image name="image" value="$image"/>'
            '<BrushLabels name="tag" toName="image"><Label value="cat"/></BrushLabels>'
            '<Labels name="more" toName="image"><Label value="dog"/></Labels></View>',
            "beside it",
            id="no-tool",
        ),
        pytest.param(
            '<View><Image name="image" value="$image"/>'
            '<BrushLabels name="tag" toName="image"><Label value="cat"/></BrushLabels>'
            '<Repeater on="$pages"><Image name="page" value="$pages"/>'
            '<BrushLabels name="more" toName="page"><Label value="dog"/></BrushLabels>'
            "</Repeater></View>",
            "<Repeater>",
            id="repeater",
        ),
    ],
)
def test_check_label_config_warns_of_what_nobody_means(
    label_config: str, note: str
) -> None:
    found, config = check(label_config)

    assert config is not None
    assert [finding.level for finding in found] == ["ok", "warning"]
    assert note in found[1].seen
    assert found[1].remedy is not None
    assert "Labeling Interface" in found[1].remedy


def test_check_label_config_shows_both_names_of_a_label_with_an_alias() -> None:
    labels = (
        '<Label value="Katze" alias="K1" model_prompt="cat"/>'
        '<Label value="dog" alias="dog"/><Label alias="K2" value=""/>'
    )

    (finding,), _ = check('\n<?xml version="1.0"?>' + brush_config(labels))

    assert [line.partition(",")[0] for line in finding.details] == [
        "'Katze' (answered as 'K1') is looked for as 'cat'",
        "'dog' is looked for as 'dog'",
        "'K2' is looked for as 'K2'",
    ]


def test_check_label_config_shows_the_aliases_of_labels_beside_a_tool() -> None:
    (finding,), _ = check(
        '<View><Image name="image" value="$image"/>'
        '<Brush name="brush" toName="image"/><Labels name="tag" toName="image">'
        '<Label value="Katze" alias="K"/><Label value="Kater" alias="K"/>'
        '<Label value="Kuh" alias="K" model_skip="true"/></Labels></View>'
    )

    assert finding.details[0].startswith("'Katze' and 'Kater' (answered as 'K') is")


def test_check_label_config_says_where_dynamic_labels_come_from() -> None:
    (finding,), _ = check(brush_config("", 'value="$labels"'))

    assert finding.details == ("labels come from each task's data, $labels",)


def test_check_label_config_shows_a_config_that_works() -> None:
    (finding,), config = check("<View><Choices name='a' toName='b'/></View>")

    assert config is None
    assert finding.level == "problem"
    assert "One that works" not in finding.seen
    assert finding.remedy is not None
    assert finding.remedy.startswith("Change it under Settings > Labeling Interface")
    assert finding.details[0] == "<View>"


def test_check_label_config_shortens_a_long_list_of_labels() -> None:
    labels = "".join(f'<Label value="thing {n}"/>' for n in range(100))

    (finding,), _ = check(brush_config(labels))

    assert len(finding.details) == 61
    assert finding.details[-1] == "and 40 more labels"


@pytest.mark.parametrize(
    ("value", "is_foreign"),
    [
        pytest.param("кошка", True, id="cyrillic"),
        pytest.param("猫", True, id="han"),
        pytest.param("café", False, id="accent"),
        pytest.param("№ 1 ", False, id="no-letter"),
        pytest.param("Straße", False, id="german"),
    ],
)
def test_check_label_config_warns_of_prompts_in_foreign_scripts(
    value: str, is_foreign: bool
) -> None:
    found, _ = check(brush_config(f'<Label value="{value}"/>'))

    assert [finding.level for finding in found[1:]] == ["warning"] * is_foreign
    if is_foreign:
        assert f"{value!r}: not in Latin letters" in found[1].seen
        assert found[1].remedy is not None
        assert f'<Label value="{value}" model_prompt=' in found[1].remedy


def test_check_label_config_accepts_a_foreign_label_with_an_english_prompt() -> None:
    found, _ = check(brush_config('<Label value="кошка" model_prompt="cat"/>'))

    assert [finding.level for finding in found] == ["ok"]


def test_check_label_config_is_skipped_without_a_project() -> None:
    (finding,), config = outcome(check_label_config(None, CUT))

    assert config is None
    assert finding.level == "skipped"
