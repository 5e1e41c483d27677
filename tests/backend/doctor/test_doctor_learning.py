"""What labels have learned, and what keeps them from it."""

from pathlib import Path

import pytest

from backend.doctor.findings import Finding
from backend.doctor.learning import check_learning
from backend.doctor.project import Project
from backend.feedback import Teacher, open_feedback_store
from backend.settings import Settings
from tests.backend.doctor.checks import outcome
from tests.backend.feedback.test_teaching import MODEL, correction
from tests.fakes import RED_AND_BLUE, MemoryCache

PROJECT = Project(
    id=7,
    title="Parts",
    label_config=RED_AND_BLUE,
    shows_predictions=True,
    predicts_when_listed=False,
)


def check(
    folder: Path, project: Project | None = PROJECT, **variables: str
) -> list[Finding]:
    settings = Settings.from_env({"CACHE_DIR": str(folder), **variables})
    findings, _ = outcome(check_learning(settings, project))
    return findings


def test_what_a_project_has_learned_is_said(tmp_path: Path) -> None:
    store = open_feedback_store(None, tmp_path)
    for number in range(8):
        store.put(correction(number))
    Teacher(store=store, leases=MemoryCache(), models={MODEL}, learn_after=0).teach("7")
    store.freeze("7", True)

    (finding,) = check(tmp_path)

    assert finding.level == "ok"
    assert finding.seen == (
        "8 corrected tasks are kept, and version 1 of what they teach counts; frozen"
    )
    (of_none,) = check(tmp_path, None)
    assert of_none.seen.startswith("1 projects are learned from: The file ")


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    (finding,) = check(tmp_path)

    assert finding.seen == "0 corrected tasks are kept"
    assert list(tmp_path.iterdir()) == []


def test_learning_that_is_off_is_said(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, LEARNING="off")

    assert finding.level == "ok"
    assert "LEARNING=off" in finding.seen


def test_a_store_that_is_away_is_a_problem(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, REDIS_URL="redis://127.0.0.1:1/0")

    assert finding.level == "problem"
    assert finding.remedy is not None


@pytest.mark.parametrize(
    ("variables", "levels"),
    [
        pytest.param({}, ["ok"], id="this-machine-alone"),
        pytest.param({"HOST": "0.0.0.0"}, ["ok", "warning"], id="anybody"),
        pytest.param(
            {"HOST": "0.0.0.0", "WEBHOOK_SECRET": "0123456789abcdef"},
            ["ok"],
            id="with-a-secret",
        ),
    ],
)
def test_corrections_of_strangers_are_a_warning(
    tmp_path: Path, variables: dict[str, str], levels: list[str]
) -> None:
    findings = check(tmp_path, **variables)

    assert [finding.level for finding in findings] == levels
