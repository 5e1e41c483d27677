"""What `diffsegmenter feedback` shows, freezes, forgets and writes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.cli import build_app
from backend.feedback import (
    Correction,
    FeedbackStore,
    RegionOutcome,
    Teacher,
    open_feedback_store,
)
from tests.backend.feedback.test_teaching import MODEL, correction
from tests.fakes import MemoryCache

RunCommand = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return open_feedback_store(None, tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> RunCommand:
    """Runs `diffsegmenter feedback` with the store of the test."""

    def run_it(*arguments: str, input: str | None = None, **variables: str) -> Any:
        environment = {"CACHE_DIR": str(tmp_path), "COLUMNS": "160", **variables}
        return CliRunner().invoke(
            build_app(),
            ["feedback", *arguments],
            env=environment,
            input=input,
            catch_exceptions=False,
        )

    return run_it


def outcome(label: str, kind: Any, iou: float, **fields: Any) -> RegionOutcome:
    return RegionOutcome(
        label=label, kind=kind, iou=iou, added_px=1, removed_px=2, **fields
    )


def corrected(number: int) -> Correction:
    """Every even one began with predictions, and took half as long."""
    is_even = number % 2 == 0
    return replace(
        correction(number),
        outcomes=(
            outcome(
                "cat", "accepted" if is_even else "corrected", 1 if is_even else 0.92
            ),
            outcome("zork", "drawn", 0.0),
            outcome("dog", "relabelled", 1.0, label_before="cat"),
            outcome("[b]x", "deleted", 0.0),
        ),
        lead_time_s=10.0 if is_even else 20.0,
        had_predictions=is_even,
    )


def taught(store: FeedbackStore) -> None:
    for number in range(8):
        store.put(corrected(number))
    Teacher(store=store, leases=MemoryCache(), models={MODEL}, learn_after=0).teach("7")


def test_show_tells_of_each_label_what_it_learned(
    store: FeedbackStore, run: RunCommand
) -> None:
    taught(store)

    result = run("show", "--project", "7")

    assert result.exit_code == 0
    assert "Project 7: 8 corrected tasks; version 1 of " in result.output
    # Of 24 regions 4 were left alone, and 4 corrected a little.
    assert "Of 24 predicted regions 17 % were accepted untouched" in result.output
    assert "33 % at IoU 0.90 and 17 % at 0.95; 8 were drawn by hand" in result.output
    assert "10 s with predictions, 20 s without" in result.output
    rows = {line.split()[0]: line.split() for line in result.output.splitlines()[3:]}
    assert rows["zork"][1:3] == ["4", "4"]
    assert float(rows["zork"][-2]) > 0
    assert float(rows["zork"][-3]) + float(rows["zork"][-2]) == pytest.approx(1)
    assert rows["zork"][-1].startswith("+")
    assert rows["cat"][3:6] == ["25", "%", "0.92"]
    assert "[b]x" in rows


def test_show_says_what_to_do_where_nothing_is_kept(run: RunCommand) -> None:
    result = run("show", "--project", "7")

    assert result.exit_code == 0
    assert "Nothing is kept of project 7" in result.output
    assert "diffsegmenter feedback import --project 7" in result.output


def test_a_project_is_frozen_and_let_learn_again(
    store: FeedbackStore, run: RunCommand
) -> None:
    taught(store)

    assert "is frozen" in run("freeze", "--project", "7").output
    assert store.is_frozen("7")
    assert run("show", "--project", "7").output.splitlines()[0].endswith("frozen.")

    assert "learns again" in run("freeze", "--project", "7", "--off").output
    assert not store.is_frozen("7")


def test_reset_asks_and_forgets_everything(
    store: FeedbackStore, run: RunCommand
) -> None:
    taught(store)

    refused = run("reset", "--project", "7", input="n\n")
    assert refused.exit_code == 1
    assert "forget 8 corrected tasks of project 7" in refused.output
    assert store.n_corrections("7") == 8

    assert run("reset", "--project", "7", "--yes").exit_code == 0
    assert store.corrections("7") == []
    assert store.heads("7") is None
    assert "Nothing is kept" in run("show", "--project", "7").output


def test_export_writes_what_was_corrected_and_no_pictures(
    store: FeedbackStore, run: RunCommand, tmp_path: Path
) -> None:
    taught(store)
    file = tmp_path / "out.json"

    shown, written = (
        run("export", "--project", "7"),
        run("export", "--project", "7", "--out", str(file)),
    )

    assert written.exit_code == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert json.loads(shown.output) == record
    assert record["version"] == 1
    assert [one["annotation"] for one in record["corrections"]] == list(range(1, 9))
    first = record["corrections"][0]
    assert first["outcomes"][0]["kind"] == "accepted"
    assert first["examples_bytes"][0] > 100
    assert "examples" not in first
    names = [label["label"] for label in record["summary"]["labels"]]
    assert names == sorted(names)


def test_a_file_that_cannot_be_written_is_named(
    store: FeedbackStore, run: RunCommand, tmp_path: Path
) -> None:
    result = run("export", "--project", "7", "--out", str(tmp_path / "no" / "x.json"))

    assert result.exit_code == 1
    assert "x.json cannot be written" in result.output


def test_a_store_that_is_away_is_told_in_a_line(run: RunCommand) -> None:
    result = run("show", "--project", "7", REDIS_URL="redis://127.0.0.1:1/0")

    assert result.exit_code == 2
    assert "cannot be used for what projects have learned" in result.output
