import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from segmenter import SegmenterOptions
from segmenter.evaluation.class_lists import load_class_list
from segmenter.evaluation.job import Job
from segmenter.evaluation.records import Failure
from segmenter.evaluation.report import doubts, failure_lines, print_report, to_json
from segmenter.evaluation.run import Plan
from segmenter.evaluation.tally import PresenceScores, Summary
from segmenter.evaluation.voc_folder import VocFolder
from segmenter.evaluation.work import BrushWork, WorkSaved

WORK = WorkSaved(
    regions=40,
    accepted_090=0.75,
    accepted_095=0.5,
    images_untouched=0.25,
    mended=BrushWork(strokes=150, length_px=300, given_up=1),
    from_blank=BrushWork(strokes=100, length_px=1200, given_up=2),
)
FAILURES = tuple(Failure(name=f"image {i}", reason="[b]gone") for i in range(12))


def job(title: str = "voc21", plan: Plan | None = None) -> Job:
    folder = VocFolder(
        root=Path("data"), split="val", truth_folder="SegmentationClass", names=("a",)
    )
    return Job(
        folder=folder,
        names=folder.names,
        classes=load_class_list(title),
        plan=plan or Plan(),
        options=SegmenterOptions(threshold=0.4),
        model="pocket",
        device="cpu",
        dtype="auto",
    )


def summary(
    n_classes: int = 21,
    *,
    n_counted: int = 1449,
    n_shown: int = 2000,
    iou: float = 0.25,
    failures: tuple[Failure, ...] = (),
) -> Summary:
    return Summary(
        n_counted=n_counted,
        n_shown=n_shown,
        failures=failures,
        miou=0.5,
        iou_of=(0.75, None, *[iou] * (n_classes - 2)),
        sweep=(*[0.5] * 29, 0.625, *[0.25] * 19),
        boundary_f=0.375,
        boundary_f_of=(None, None, *[0.375] * (n_classes - 2)),
        presence=PresenceScores(precision=0.8, recall=None, f1=None, exact=0.125),
        seconds_per_image=0.5,
    )


def printed(summary: Summary, job: Job) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        print_report(console, summary, job)
    return capture.get()


def test_figures_of_truths_that_show_something_and_of_none_are_not_doubted() -> None:
    assert list(doubts(summary(), job())) == []
    assert list(doubts(summary(n_counted=0, n_shown=0), job())) == []


def test_figures_of_truths_that_show_no_class_are_doubted() -> None:
    (line,) = doubts(summary(n_shown=0), job())

    assert line.startswith(
        "No truth shows a class: all pixels are 0, background, or 255"
    )
    assert line.endswith("write its class's number in place of 255.")


def test_a_zero_for_every_class_is_explained() -> None:
    (line,) = doubts(summary(iou=0), job())

    assert "No class was found where the truths show it (IoU 0)." in line
    assert line.endswith(
        "of the list voc21: 0 is background, 1 is aeroplane, 2 is bicycle, 3 is bird."
    )


def test_the_json_holds_every_figure_and_no_nan() -> None:
    report = json.loads(
        to_json(summary(failures=FAILURES), job()),
        parse_constant=lambda name: pytest.fail(name),
    )

    assert report["miou"] == 0.5
    assert report["oracle"]["threshold"] == 0.6
    assert report["oracle"]["miou"] == 0.625
    assert "this very split" in report["oracle"]["note"]
    assert report["boundary_f"] == 0.375
    assert report["presence"] == {
        "precision": 0.8,
        "recall": None,
        "f1": None,
        "exact": 0.125,
    }
    assert report["images"] == {
        "counted": 1449,
        "failed": 12,
        "seconds_per_image": 0.5,
    }
    assert report["classes"][1] == {
        "name": "aeroplane",
        "iou": None,
        "boundary_f": None,
    }
    assert report["sweep"][29] == {"threshold": 0.6, "miou": 0.625}
    assert len(report["failures"]) == 12


def test_the_json_says_which_run_it_is_of() -> None:
    run = json.loads(to_json(summary(), job()))["run"]

    assert run["model"] == "pocket"
    assert len(run["weights"]) == 12
    assert run["options"]["threshold"] == 0.4
    assert "images_per_pass" not in run["options"]
    assert run["classes"][:2] == ["aeroplane: airplane", "bicycle"]


def test_the_tables_show_classes_and_figures_in_percent() -> None:
    lines = [line.split() for line in printed(summary(), job()).splitlines()]

    assert ["background", "75.0", "-"] in lines
    assert ["aeroplane", "-", "-"] in lines
    assert ["tvmonitor", "25.0", "37.5"] in lines
    assert ["mIoU", "50.0", "threshold", "0.4,", "background", "included"] in lines
    assert ["presence", "exact", "12.5"] in [line[:3] for line in lines]


def test_work_saved_is_told_with_what_it_is_a_share_of() -> None:
    found = replace(summary(), work=WORK)

    text = printed(found, job())
    work = json.loads(to_json(found, job()))["work"]

    lines = [line.split() for line in text.splitlines()]
    assert ["accepted", "at", "IoU", "0.95", "50.0"] in lines
    assert ["accepted", "at", "IoU", "0.90", "75.0", "of", "40", "regions"] in lines
    assert "-50.0  150 strokes of a simulated brush to IoU 0.95, 100 from blank" in text
    assert "75.0  300 px of them, 1200 px from blank" in text
    assert work["strokes_saved"] == -0.5
    assert work["length_saved"] == 0.75
    assert work["from_blank"] == {"strokes": 100, "length_px": 1200, "given_up": 2}
    assert (work["until_iou"], work["most_strokes"]) == (0.95, 100)


def test_work_that_was_not_counted_is_null_and_not_printed() -> None:
    assert json.loads(to_json(summary(), job()))["work"] is None
    assert "work saved" not in printed(summary(), job())


def test_the_oracle_is_marked_as_chosen_on_the_split() -> None:
    text = printed(summary(), job())

    assert "62.5  threshold 0.6: threshold chosen on this very split" in text


@pytest.mark.parametrize(
    ("title", "n_classes", "n_images", "percent"),
    [
        ("voc21", 21, 1449, "60.1"),
        ("context60", 60, 5104, "27.5"),
        ("coco-object", 81, 5000, "37.9"),
    ],
)
def test_a_whole_benchmark_is_held_against_the_paper(
    title: str, n_classes: int, n_images: int, percent: str
) -> None:
    whole = summary(n_classes, n_counted=n_images)

    text = printed(whole, job(title))

    assert f"Published: {percent} % mIoU." in text
    assert "Comparable with the oracle mIoU" in text
    published = json.loads(to_json(whole, job(title)))["published"]
    assert published["comparable"]
    assert published["miou"] == pytest.approx(float(percent) / 100)


@pytest.mark.parametrize(
    ("found", "plan", "reason"),
    [
        (summary(n_counted=40), Plan(), "40 images were counted and not the 1449"),
        (summary(), Plan(labels="present"), "--labels present"),
    ],
)
def test_what_cannot_be_compared_says_why(
    found: Summary, plan: Plan, reason: str
) -> None:
    text = printed(found, job(plan=plan))

    assert "Not comparable: " in text
    assert reason in text
    assert not json.loads(to_json(found, job(plan=plan)))["published"]["comparable"]


def test_a_list_that_is_no_benchmark_has_nothing_published() -> None:
    pocket = summary(25)

    assert "ublished" not in printed(pocket, job("pocket"))
    assert json.loads(to_json(pocket, job("pocket")))["published"] is None


def test_the_first_failures_are_lines_and_the_others_a_number() -> None:
    first, *others, last = failure_lines(summary(n_counted=3, failures=FAILURES))

    assert first == "12 of 15 images were not counted:"
    assert others == [f"  image {i}: [b]gone" for i in range(10)]
    assert last == "  and 2 more, which the report lists."
    assert list(failure_lines(summary())) == []
