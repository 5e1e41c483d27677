"""A summary in, JSON and tables to read out."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from segmenter.evaluation.brush import GOOD_IOU, MOST_STROKES
from segmenter.evaluation.class_lists import ClassList
from segmenter.evaluation.counts import IGNORED, THRESHOLDS
from segmenter.evaluation.job import Job
from segmenter.evaluation.published import PUBLISHED, SOURCE, objections
from segmenter.evaluation.tally import Summary
from segmenter.evaluation.work import WorkSaved

ORACLE_NOTE: Final = "threshold chosen on this very split, as papers do"
# More failures are in the JSON only.
_MOST_FAILURES: Final = 10


def to_json(summary: Summary, job: Job) -> str:
    """The whole report as indented JSON, shares in [0, 1], unknown ones null."""
    threshold, miou = summary.oracle
    report: dict[str, Any] = {
        "run": job.describe(),
        "images": {
            "counted": summary.n_counted,
            "failed": len(summary.failures),
            "seconds_per_image": summary.seconds_per_image,
        },
        "miou": summary.miou,
        "oracle": {"threshold": threshold, "miou": miou, "note": ORACLE_NOTE},
        "boundary_f": summary.boundary_f,
        "presence": asdict(summary.presence),
        "work": summary.work and _work(summary.work),
        "published": _published(summary, job),
        "classes": [
            {"name": name, "iou": iou, "boundary_f": boundary_f}
            for name, iou, boundary_f in zip(
                job.classes.names, summary.iou_of, summary.boundary_f_of, strict=True
            )
        ],
        "sweep": [
            {"threshold": threshold, "miou": miou}
            for threshold, miou in zip(THRESHOLDS, summary.sweep, strict=True)
        ],
        "failures": [asdict(failure) for failure in summary.failures],
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def print_report(console: Console, summary: Summary, job: Job) -> None:
    """Print the classes, and last, where a reader looks, the figures."""
    figures = _figures(summary, job.options.threshold)
    console.print(Group(_class_table(summary, job.classes), "", figures))
    for line in _comparison(summary, job):
        console.print(line, markup=False, highlight=False)


def compare(summaries: Mapping[str, Summary]) -> Table:
    """Set the figures of several recipes side by side."""
    table = Table("recipe", box=None)
    for heading in (
        "mIoU",
        "oracle mIoU",
        "at threshold",
        "boundary F",
        "presence F1",
        "s per image",
    ):
        table.add_column(heading, justify="right")
    for name, summary in summaries.items():
        best, miou = summary.oracle
        seconds = summary.seconds_per_image
        table.add_row(
            Text(name),
            _percent(summary.miou),
            _percent(miou),
            f"{best:g}",
            _percent(summary.boundary_f),
            _percent(summary.presence.f1),
            "-" if seconds is None else f"{seconds:.3g}",
        )
    return table


def failure_lines(summary: Summary) -> Iterator[str]:
    """One line per image that was not counted, the first of many."""
    n_failed = len(summary.failures)
    if n_failed:
        yield f"{n_failed} of {n_failed + summary.n_counted} images were not counted:"
    for failure in summary.failures[:_MOST_FAILURES]:
        yield f"  {failure.name}: {failure.reason}"
    if n_failed > _MOST_FAILURES:
        yield f"  and {n_failed - _MOST_FAILURES} more, which the report lists."


def doubts(summary: Summary, job: Job) -> Iterator[str]:
    """What to think of figures that say nothing, or that nothing was found."""
    if not summary.n_counted:
        return
    if not summary.n_shown:
        yield (
            f"No truth shows a class: all pixels are 0, background, or {IGNORED}, "
            f"which does not count. The figures say nothing. If the truths are masks "
            f"of an object, write its class's number in place of {IGNORED}."
        )
    elif not any(summary.iou_of[1:]):
        first = ", ".join(
            f"{number} is {name}" for number, name in enumerate(job.classes.names[:4])
        )
        yield (
            f"No class was found where the truths show it (IoU 0). See whether the "
            f"truths' numbers are those of the list {job.classes.title}: {first}."
        )


def _published(summary: Summary, job: Job) -> dict[str, Any] | None:
    published = PUBLISHED.get(job.classes.title)
    if published is None:
        return None
    problems = objections(published, n_counted=summary.n_counted, plan=job.plan)
    return {
        "miou": published.miou,
        "source": SOURCE,
        "comparable": not problems,
        "objections": problems,
    }


def _class_table(summary: Summary, classes: ClassList) -> Table:
    table = Table("class", box=None)
    table.add_column("IoU", justify="right")
    table.add_column("boundary F", justify="right")
    for name, iou, boundary_f in zip(
        classes.names, summary.iou_of, summary.boundary_f_of, strict=True
    ):
        table.add_row(Text(name), _percent(iou), _percent(boundary_f))
    return table


def _figures(summary: Summary, threshold: float) -> Table:
    best, miou = summary.oracle
    presence = summary.presence
    table = Table("figure", box=None)
    table.add_column("%", justify="right")
    table.add_column("")
    rows = [
        ("mIoU", summary.miou, f"threshold {threshold:g}, background included"),
        ("oracle mIoU", miou, f"threshold {best:g}: {ORACLE_NOTE}"),
        ("boundary F", summary.boundary_f, "mean over classes"),
        ("presence precision", presence.precision, "labels called present that are"),
        ("presence recall", presence.recall, "labels there that were called present"),
        ("presence F1", presence.f1, ""),
        ("presence exact", presence.exact, "images with every label judged rightly"),
    ]
    if summary.work:
        rows += _work_rows(summary.work)
    for name, value, note in rows:
        table.add_row(name, _percent(value), note)
    return table


def _work_rows(work: WorkSaved) -> list[tuple[str, float | None, str]]:
    """The figures of work saved: name, share, and what it is a share of."""
    mended, blank = work.mended, work.from_blank
    return [
        ("accepted at IoU 0.90", work.accepted_090, f"of {work.regions} regions"),
        ("accepted at IoU 0.95", work.accepted_095, ""),
        ("images untouched", work.images_untouched, "every region accepted at 0.95"),
        (
            "work saved, strokes",
            work.strokes_saved,
            f"{mended.strokes} strokes of a simulated brush to IoU {GOOD_IOU:.2f}, "
            f"{blank.strokes} from blank; {mended.given_up} and {blank.given_up} "
            f"regions given up after {MOST_STROKES}",
        ),
        (
            "work saved, length",
            work.length_saved,
            f"{mended.length_px} px of them, {blank.length_px} px from blank",
        ),
    ]


def _work(work: WorkSaved) -> dict[str, Any]:
    return {
        **asdict(work),
        "strokes_saved": work.strokes_saved,
        "length_saved": work.length_saved,
        "until_iou": GOOD_IOU,
        "most_strokes": MOST_STROKES,
    }


def _comparison(summary: Summary, job: Job) -> Iterator[str]:
    """Lines below the tables: images, time, and the paper's figure."""
    seconds = summary.seconds_per_image
    time = "" if seconds is None else f", median {seconds:.3g} s per image"
    yield f"{summary.n_counted} images counted{time}."
    published = PUBLISHED.get(job.classes.title)
    if published is None:
        return
    yield f"Published: {_percent(published.miou)} % mIoU. {SOURCE}."
    problems = objections(published, n_counted=summary.n_counted, plan=job.plan)
    if problems:
        yield f"Not comparable: {'; '.join(problems)}."
    else:
        yield "Comparable with the oracle mIoU above, if the model is the same."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
