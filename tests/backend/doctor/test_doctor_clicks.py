"""What an interactive set-up still lacks."""

from typing import Any

import pytest

from backend.doctor.clicks import check_clicks
from backend.doctor.findings import Finding
from backend.doctor.project import Project
from backend.label_config import read_label_config
from backend.types import CutOptions
from tests.backend.doctor.checks import outcome, row
from tests.clicking import CLICKABLE
from tests.fakes import RED_AND_BLUE, defaults_of

CUT = defaults_of(CutOptions(threshold_01=0.5))
TYPING = RED_AND_BLUE.replace(
    "<BrushLabels", '<TextArea name="prompt" toName="image"/><BrushLabels'
)
ASKED = [row("http://b", is_interactive=True)]
NOT_ASKED = [row("http://b", is_interactive=False)]


def check(config: str, rows: Any) -> list[Finding]:
    project = Project(
        id=7,
        title="Clicks",
        label_config=config,
        shows_predictions=True,
        predicts_when_listed=False,
    )
    findings, _ = outcome(check_clicks(project, read_label_config(config, CUT), rows))
    return findings


@pytest.mark.parametrize("rows", [ASKED, None], ids=["asked", "not-shown"])
def test_a_whole_set_up_is_said_with_its_tools(rows: Any) -> None:
    (finding,) = check(CLICKABLE, rows)

    assert finding.level == "ok"
    assert finding.seen == (
        "masks can be mended with <KeyPointLabels name='kp'>, "
        "<RectangleLabels name='box'>"
    )


def test_a_project_without_clicks_is_in_order() -> None:
    (finding,) = check(RED_AND_BLUE, NOT_ASKED)

    assert (finding.level, finding.seen) == ("ok", "not set up")
    assert "docs/interactive.md" in finding.details[0]


def test_tools_that_ask_nobody_are_a_warning() -> None:
    (finding,) = check(CLICKABLE, NOT_ASKED)

    assert finding.level == "warning"
    assert "a tool for clicks, 'kp'" in finding.seen
    assert finding.remedy is not None
    assert "Interactive preannotations" in finding.remedy


def test_a_backend_that_nobody_can_ask_is_a_warning() -> None:
    (finding,) = check(RED_AND_BLUE, ASKED)

    assert finding.level == "warning"
    assert "no tool to ask it with" in finding.seen
    assert finding.remedy is not None
    assert '<KeyPointLabels name="points" toName="image" smart="true">' in (
        finding.remedy
    )


def test_a_text_area_is_enough_to_ask_with() -> None:
    (finding,) = check(TYPING, ASKED)

    assert finding.level == "ok"


def test_a_label_that_nothing_draws_is_named() -> None:
    config = CLICKABLE.replace(
        '<KeyPointLabels name="kp" toName="image" smart="true">',
        '<KeyPointLabels name="kp" toName="image" smart="true">'
        '<Label value="grass"/><Label value="rot" alias="red"/>',
    )

    (finding,) = check(config, ASKED)

    assert finding.level == "warning"
    assert finding.seen.endswith("answered with nothing: 'grass'")


def test_a_tool_that_is_left_out_of_it_is_none() -> None:
    config = CLICKABLE.replace('name="kp"', 'name="kp" model_skip="true"').replace(
        'name="box"', 'name="box" model_skip="false"'
    )

    (finding,) = check(config, NOT_ASKED)

    assert finding.seen == "not set up"


def test_labels_out_of_the_tasks_are_not_judged() -> None:
    config = (
        '<View><Image name="image" value="$image"/><BrushLabels name="tag" '
        'toName="image" value="$labels"/><KeyPointLabels name="kp" toName="image" '
        'smart="true"><Label value="cat"/></KeyPointLabels></View>'
    )

    (finding,) = check(config, ASKED)

    assert finding.level == "ok"


def test_without_a_project_or_a_config_nothing_is_judged() -> None:
    (no_project,), _ = outcome(check_clicks(None, None, None))
    project = Project(
        id=7,
        title="",
        label_config="",
        shows_predictions=True,
        predicts_when_listed=False,
    )
    (no_config,), _ = outcome(check_clicks(project, None, ASKED))

    assert no_project.level == no_config.level == "skipped"
