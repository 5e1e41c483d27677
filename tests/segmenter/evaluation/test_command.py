import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from segmenter.evaluation.command import evaluate_folder
from segmenter.pocket.voc import write_voc_folder
from tests.children import child

app = typer.Typer()
app.command()(evaluate_folder)


def run(root: Path, out: Path, *arguments: str) -> Result:
    """The command with the bundled model; a failure is an exit, not an exception."""
    whole = [str(root), "--classes", "pocket", "--device", "cpu", "--out", str(out)]
    result = CliRunner().invoke(app, [*whole, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def report_of(out: Path) -> dict[str, Any]:
    """The report; times, which no two runs share, taken out."""
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["images"].pop("seconds_per_image") > 0
    return report


def succeeds(result: Result) -> None:
    assert result.exit_code == 0, result.output


def fails(result: Result, message: str) -> None:
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_present_labels_of_the_pocket_world_are_found(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "report.json"

    result = run(pocket_root, out, "--labels", "present")

    succeeds(result)
    report = report_of(out)
    assert report["images"] == {"counted": 6, "failed": 0}
    assert report["miou"] > 0.6
    assert report["oracle"]["miou"] >= report["miou"] - 0.01
    assert report["boundary_f"] > 0.5
    assert report["presence"]["precision"] == 1
    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 7
    assert f"{100 * report['miou']:.1f}" in result.stdout
    assert str(out) in result.stdout


def test_recipes_are_compared_in_one_run(pocket_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    several = ("--labels", "present", "--limit", "2", "--recipe", "fast, sd1,paper")

    result = run(pocket_root, out, *several)

    succeeds(result)
    reports = {
        name: report_of(out.with_stem(f"report-{name}"))
        for name in ("fast", "sd1", "paper")
    }
    options = {name: report["run"]["options"] for name, report in reports.items()}
    assert options["fast"]["self_attention_products"] == 1
    assert options["sd1"]["self_attention_products"] == 2
    assert options["paper"]["mode"] == "paper"
    *_, fast, sd1, paper = result.stdout.rstrip().splitlines()
    for line, (name, report) in zip((fast, sd1, paper), reports.items(), strict=True):
        assert line.split()[:2] == [name, f"{100 * report['miou']:.1f}"]
    assert not out.exists()
    # Stopped or repeated, each recipe goes on from its own records.
    assert run(pocket_root, out, *several).stderr.count("2 of 2 images") == 3


def test_a_recipe_that_is_none_is_refused(pocket_root: Path, tmp_path: Path) -> None:
    result = run(pocket_root, tmp_path / "r.json", "--recipe", "fast,best")

    fails(result, "--recipe has 'best', which is none of paper, fast, toy, pocket")


def test_all_labels_are_asked_for_and_the_filter_decides(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    succeeds(run(pocket_root, out))

    report = report_of(out)
    assert report["run"]["labels"] == "all"
    assert report["miou"] > 0.4
    assert report["presence"]["precision"] > 0.6
    assert report["presence"]["recall"] > 0.6


def test_absent_labels_can_be_mistaken_for_present_ones(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    succeeds(run(pocket_root, out, "--labels=present", "--absent=2", "--presence=off"))

    presence = report_of(out)["presence"]
    assert presence["recall"] == 1
    assert 0 < presence["precision"] < 1
    assert presence["exact"] == 0


def test_the_mode_and_its_options_reach_the_segmenter(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    succeeds(
        run(
            pocket_root,
            out,
            *("--mode", "paper", "--labels", "present", "--limit", "2"),
            *("--threshold", "0.5", "--boundaries", "guided", "--batch-size", "2"),
        )
    )

    report = report_of(out)
    options = report["run"]["options"]
    assert report["images"]["counted"] == 2
    assert options["mode"] == "paper"
    assert options["threshold"] == 0.5
    assert options["boundaries"] == "guided"
    assert options["presence"] == "off"


def test_work_saved_is_counted_when_asked_and_is_a_run_of_its_own(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    first = ("--labels", "present", "--limit", "2")
    succeeds(run(pocket_root, out, *first))
    assert report_of(out)["work"] is None
    assert "work saved" not in report_of(out)["run"]

    fails(run(pocket_root, out, *first, "--work-saved"), "work saved was null")
    result = run(pocket_root, out, *first, "--work-saved", "--restart")

    succeeds(result)
    work = report_of(out)["work"]
    assert report_of(out)["run"]["work saved"] is True
    assert work["regions"] >= 2
    assert 0 < work["mended"]["strokes"] < work["from_blank"]["strokes"]
    assert f"{100 * work['strokes_saved']:.1f}" in result.stdout
    again = run(pocket_root, out, *first, "--work-saved")
    succeeds(again)
    assert report_of(out)["work"] == work


def test_a_run_killed_in_the_middle_goes_on_to_the_same_report(
    pocket_root: Path, tmp_path: Path
) -> None:
    at_once, in_parts = tmp_path / "once.json", tmp_path / "parts.json"
    succeeds(run(pocket_root, at_once, "--batch-size", "1"))
    lines = at_once.with_suffix(".jsonl").read_bytes().splitlines(keepends=True)
    half = lines[4][: len(lines[4]) // 2]
    in_parts.with_suffix(".jsonl").write_bytes(b"".join([*lines[:4], half]))

    result = run(pocket_root, in_parts, "--batch-size", "1")

    succeeds(result)
    assert "3 of 6 images were counted before." in result.stderr
    assert report_of(in_parts) == report_of(at_once)


def test_a_complete_run_is_reported_again_without_the_model(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    succeeds(run(pocket_root, out, "--labels", "present"))
    first = out.read_text()
    records = out.with_suffix(".jsonl").read_text()
    out.unlink()

    result = run(pocket_root, out, "--labels", "present")

    succeeds(result)
    assert out.read_text() == first
    assert out.with_suffix(".jsonl").read_text() == records


def test_a_larger_limit_adds_to_what_is_there_and_a_smaller_one_loses_nothing(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    for limit, n_counted in (("3", 3), ("5", 5), ("2", 2)):
        succeeds(run(pocket_root, out, "--labels=present", "--limit", limit))
        assert report_of(out)["images"]["counted"] == n_counted

    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 1 + 5


def test_other_options_are_refused_until_a_restart(
    pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    first = ("--labels", "present", "--limit", "1")
    succeeds(run(pocket_root, out, *first))
    other = (*first, "--threshold", "0.3")

    fails(run(pocket_root, out, *other), "options threshold was 0.46 and is 0.3 now")
    succeeds(run(pocket_root, out, *other, "--restart"))

    assert report_of(out)["run"]["options"]["threshold"] == 0.3


@pytest.fixture
def broken_root(pocket_root: Path, tmp_path: Path) -> Path:
    """The truth of the first scene is missing."""
    root = tmp_path / "broken"
    shutil.copytree(pocket_root, root)
    (root / "SegmentationClass" / "1000000.png").unlink()
    return root


def test_an_image_that_fails_is_reported_and_tried_again_by_the_next_run(
    broken_root: Path, pocket_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    fails(
        run(broken_root, out, "--labels", "present"),
        "1 of 6 images were not counted: 1000000: There is no",
    )

    report = report_of(out)
    assert report["images"] == {"counted": 5, "failed": 1}
    assert report["failures"][0]["name"] == "1000000"
    shutil.copytree(pocket_root, broken_root, dirs_exist_ok=True)
    succeeds(run(broken_root, out, "--labels", "present"))
    assert report_of(out)["images"] == {"counted": 6, "failed": 0}


def test_a_set_of_which_nothing_can_be_read_fails_without_figures(
    broken_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"

    result = run(broken_root, out, "--limit", "1")

    fails(result, "1 of 1 images were not counted")
    assert "mIoU" not in result.stdout
    assert json.loads(out.read_text())["images"]["counted"] == 0


def test_truths_of_no_class_fail_with_their_figures_and_the_reason(
    broken_root: Path, tmp_path: Path
) -> None:
    """As masks are that show an object in white on black."""
    truth = Image.new("L", (160, 96), 0)
    truth.paste(255, (20, 20, 60, 60))
    for path in (broken_root / "JPEGImages").iterdir():
        truth.save(broken_root / "SegmentationClass" / path.name)

    result = run(broken_root, tmp_path / "report.json", "--limit", "2")

    fails(result, "No truth shows a class: all pixels are 0, background, or 255")
    assert "2 images counted" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "test"), "--split one of val"),
        (("--truth-folder", "Masks"), "There is no folder"),
        (("--classes", "voc"), "There is no class list 'voc'"),
        (("--absent", "2"), "2 absent classes beside all of them"),
        (("--model", "no/such/model"), "cannot be loaded"),
        (("--out", "report.jsonl"), "where its records go"),
    ],
)
def test_a_mistake_in_the_command_line_is_explained(
    pocket_root: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "report.json"

    fails(run(pocket_root, out, *arguments), message)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_explained(
    pocket_root: Path, tmp_path: Path, device: str
) -> None:
    out = tmp_path / "report.json"

    fails(
        run(pocket_root, out, "--device", device),
        f"pocket cannot be loaded on the device '{device}'",
    )


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "report.json"
    # More than anybody counts before the signal arrives; most are never looked at.
    write_voc_folder(root, n_scenes=300, size_yx=(48, 64))
    arguments = [str(root), "--classes", "pocket", "--labels", "present"]
    # A shell may have started the tests with SIGINT ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from backend.cli import main; main()"
    )
    command = [
        *(sys.executable, "-c", program, "evaluate", *arguments),
        *("--out", str(out), "--batch-size", "1", "--device", "cpu"),
    ]
    records = out.with_suffix(".jsonl")

    with child(command, stderr=subprocess.PIPE) as process:
        while not records.exists() or records.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, message = process.communicate(timeout=300)

    assert process.returncode == 130, message
    assert "of 300 images. The same command (without --restart) goes on" in message
    assert "Traceback" not in message
    assert not out.exists()
    n_done = records.read_bytes().count(b"\n") - 1
    goes_on = run(
        *(root, out, "--labels", "present", "--batch-size", "1"),
        *("--limit", str(n_done + 2)),
    )
    succeeds(goes_on)
    assert f"{n_done} of {n_done + 2} images were counted before." in goes_on.stderr
    assert report_of(out)["images"]["counted"] == n_done + 2


def test_torch_is_not_imported_before_a_model_is_needed() -> None:
    program = "import sys, backend.cli; print('torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"
