"""The `evaluate` command: a folder in VOC layout in, a report out.

Imported by every command of the program, so torch waits until a model is needed.
"""

import logging
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from segmenter import (
    ModelSource,
    SegmenterError,
    UnusableDevice,
    find_recipe,
    load_segmenter,
    recipe_options,
)
from segmenter.evaluation.class_lists import load_class_list
from segmenter.evaluation.errors import EvaluationError
from segmenter.evaluation.job import Job, parse_recipes
from segmenter.evaluation.records import RecordFile, open_records
from segmenter.evaluation.report import (
    compare,
    doubts,
    failure_lines,
    print_report,
    to_json,
)
from segmenter.evaluation.run import Labels, Plan, evaluate
from segmenter.evaluation.tally import Summary, Tally
from segmenter.evaluation.voc_folder import open_voc_folder
from segmenter.options import Boundaries, Mode, PresenceFilter

if TYPE_CHECKING:
    from segmenter.predictor import Segmenter

_console = Console()
_errors = Console(stderr=True)


def evaluate_folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A data set in VOC layout.")
    ],
    classes: Annotated[
        str,
        typer.Option(help="voc21, context60, coco-object, pocket, or a file of names."),
    ] = "voc21",
    split: Annotated[
        str, typer.Option(help="The list in ImageSets/Segmentation or ImageSets.")
    ] = "val",
    truth_folder: Annotated[
        str, typer.Option(help="Such as SegmentationClassAug.")
    ] = "SegmentationClass",
    labels: Annotated[
        Labels,
        typer.Option(help="Ask for all classes, or for those that the truth shows."),
    ] = "all",
    absent: Annotated[
        int, typer.Option(min=0, help="With present: so many absent ones as well.")
    ] = 0,
    model: Annotated[
        str,
        typer.Option(
            help="pocket, a directory, or a hub id with or without @revision."
        ),
    ] = "pocket",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Precision of the diffusion model."),
    ] = "auto",
    mode: Annotated[
        Mode, typer.Option(help="One pass for all labels, or as published.")
    ] = "fast",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Compare several, with commas between: paper (the mode), fast (by the "
            "recipe of the model's family), toy (the pocket model's), or a family's "
            "such as sd1.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, help="Background score; else the mode's."),
    ] = None,
    presence: Annotated[
        PresenceFilter | None, typer.Option(help="The filter; else the mode's.")
    ] = None,
    boundaries: Annotated[
        Boundaries | None, typer.Option(help="Follow edges; else as the mode does.")
    ] = None,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="Paper mode to the letter.")
    ] = False,
    work_saved: Annotated[
        bool,
        typer.Option(
            "--work-saved", help="Also the strokes of a brush that the masks save."
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 4,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many images.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            dir_okay=False,
            help="The report; beside it, as .jsonl, what was counted in each image.",
        ),
    ] = Path("evaluation.json"),
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what was counted before.")
    ] = False,
) -> None:
    """Measure the masks of a whole data set against its truth.

    Stopped or killed, the same command goes on where it was.

    Exit status: 0 all images counted, 1 some or all not, or no truth shows a class.
    """
    # Libraries below announce their fallbacks; a user of one command needs none.
    logging.basicConfig(level=logging.ERROR)
    # None takes the recipe's, or the mode's.
    given: dict[str, Any] = {
        "threshold": threshold,
        "presence": presence,
        "boundaries": boundaries,
    }
    try:
        voc = open_voc_folder(folder, split=split, truth_folder=truth_folder)
        own = find_recipe(ModelSource.parse(model))
        asked = {mode: (mode, own)} if recipe is None else parse_recipes(recipe, own)
        jobs = {
            name: Job(
                folder=voc,
                names=voc.names[:limit],
                classes=load_class_list(classes),
                plan=Plan(
                    labels=labels,
                    absent=absent,
                    batch_size=batch_size,
                    work_saved=work_saved,
                ),
                options=recipe_options(
                    one,
                    its_mode,
                    given
                    | {
                        "images_per_pass": batch_size,
                        # Of several, it is paper mode that can be so.
                        "as_published": as_published
                        and (recipe is None or its_mode == "paper"),
                    },
                ),
                model=model,
                device=device,
                dtype=dtype,
            )
            for name, (its_mode, one) in asked.items()
        }
        complete = _run_all(jobs, out, restart=restart)
    except (SegmenterError, OSError, ValueError) as error:
        _complain(str(error))
        raise typer.Exit(1) from error
    if not complete:
        raise typer.Exit(1)


def _run_all(jobs: dict[str, Job], out: Path, *, restart: bool) -> bool:
    """Run one job, or several and compare them; the model is loaded once."""
    first = next(iter(jobs.values()))
    load = lru_cache(maxsize=1)(partial(_load, first))
    if len(jobs) == 1:
        return _run(first, out, load, restart=restart)[1]
    summaries = {}
    complete = True
    for name, job in jobs.items():
        own_out = out.with_stem(f"{out.stem}-{name}")
        summaries[name], is_complete = _run(job, own_out, load, restart=restart)
        complete = complete and is_complete
    _console.print(compare(summaries))
    return complete


def _run(
    job: Job, out: Path, load: Callable[[], "Segmenter"], *, restart: bool
) -> tuple[Summary, bool]:
    """Count, report, and say whether every image was counted, and showed anything."""
    if out.suffix == ".jsonl":
        raise ValueError(
            f"The report cannot be {out}, where its records go. Give a name such as "
            f"--out {out.with_suffix('.json')}."
        )
    records = open_records(out.with_suffix(".jsonl"), job.describe(), restart=restart)
    tally = Tally(len(job.classes), presence_threshold=job.options.presence_threshold)
    try:
        _count(job, records, tally, load)
    except KeyboardInterrupt as e:
        _complain(
            f"Stopped after {tally.summary().n_counted} of {len(job.names)} images. "
            f"The same command (without --restart) goes on from there."
        )
        raise typer.Exit(130) from e
    summary = tally.summary()
    for line in failure_lines(summary):
        _complain(line)
    out.write_text(to_json(summary, job), encoding="utf-8")
    if summary.n_counted:
        print_report(_console, summary, job)
    for line in doubts(summary, job):
        _complain(line)
    _console.print(f"Report: {out}", markup=False, soft_wrap=True)
    return summary, summary.n_shown > 0 and not summary.failures


def _count(
    job: Job, records: RecordFile, tally: Tally, load: Callable[[], "Segmenter"]
) -> None:
    """Add what is on record already, then the images that are left."""
    left = dict.fromkeys(job.names)
    for record in records.counted():
        if record.name in left:
            tally.add(record)
            del left[record.name]
    n_done = len(job.names) - len(left)
    if n_done:
        _errors.print(f"{n_done} of {len(job.names)} images were counted before.")
    if not left:
        return
    with _progress() as progress:
        task = progress.add_task("", total=len(job.names), completed=n_done)
        counted = evaluate(
            list(left),
            job.folder,
            job.classes,
            load(),
            job.plan,
            options=job.options,
        )
        for found in counted:
            records.append(found)
            tally.add(found)
            progress.advance(task)


def _load(job: Job) -> "Segmenter":
    try:
        return load_segmenter(
            job.model, job.options, device=job.device, dtype=job.dtype
        )
    except UnusableDevice as e:
        raise EvaluationError(
            f"{job.model} cannot be loaded on the device {job.device!r}: {e.reason}. "
            f"Give --device cpu, or auto."
        ) from e
    except (AssertionError, RuntimeError) as e:
        raise EvaluationError(f"{job.model} cannot be loaded: {e}.") from e


def _progress() -> Progress:
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=_errors,
        transient=True,
    )


class _Rate(ProgressColumn):
    """Images per second, as soon as it is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.2f} images/s")


def _complain(message: str) -> None:
    _errors.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
