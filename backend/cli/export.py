"""`diffsegmenter export`: what people drew, as a data set to train on.

Label Studio's own converter exports nothing of bitmasks, and outlines of brushes.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from backend.batch import (
    ERRORS,
    OUTPUT,
    Progress,
    ProgressBar,
    log_beside_the_bar,
    print_failures,
    project_info,
    require,
    write_failures,
)
from backend.cli.refusals import exit_on_refusal
from backend.engine import image_fetcher
from backend.export import (
    INDEX_FILE,
    Choice,
    Exporter,
    ExportReport,
    ExportSpec,
    Format,
    known_formats,
    whole_folder,
)
from backend.label_config import read_drawn_tags
from backend.label_studio import LabelStudioClient, ProjectInfo, ProjectTasks
from backend.settings import Settings

_RETRY_FOR_S: Final = 180.0
_INTERRUPTED: Final = 130


def _read_format(name: str) -> Format:
    found = known_formats().get(name)
    if found is None:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(known_formats())}.")
    return found


def command(
    project: Annotated[
        int,
        typer.Option("--project", "-p", min=1, help="Label Studio's project number."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write, not there yet.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            parser=_read_format,
            metavar="|".join(known_formats()),
            help="coco: run-length masks; yolo: outlines; png: class numbers, in VOC "
            "layout.",
        ),
    ],
    annotations: Annotated[
        Choice,
        typer.Option(
            help="Of several annotations of a task: the one changed last, all (each a "
            "picture of its own), or the last that is marked as ground truth."
        ),
    ] = "latest",
    tab: Annotated[
        int | None,
        typer.Option(help="Only what this tab of the Data Manager shows (?tab=N)."),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Write the images too, upright, as PNG.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export in the folder.")
    ] = False,
    failures: Annotated[
        Path | None,
        typer.Option(help="Write tasks that are left out and reasons here, as JSON."),
    ] = None,
) -> None:
    """Write a project's annotations as masks: brush, bitmask, polygon, rectangle.

    Reads LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY and, where images are read, the same
    limits as `serve`. No model is loaded. The folder appears when it is whole. Exit
    status: 0 all annotated tasks are in it, 1 some are not or there are none, 2 it
    cannot begin or be written, 130 it was interrupted.
    """
    with exit_on_refusal():
        settings = Settings.from_env()
        require(settings, "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
        log_beside_the_bar()
        client = LabelStudioClient(settings.label_studio)
        info = project_info(ProjectTasks(client, project, retry_for_s=0))
        spec = ExportSpec(
            format=format_,
            annotations=annotations,
            images=images,
            view_id=tab,
        )
        if failures is not None:
            write_failures(failures, {})  # rather than fail at it after hours
        tasks = ProjectTasks(client, project, retry_for_s=_RETRY_FOR_S)
        try:
            report = _export(settings, tasks, info, spec, out, replaces=force)
        except KeyboardInterrupt:
            ERRORS.print(f"Interrupted; {out} is as it was.", markup=False)
            raise typer.Exit(_INTERRUPTED) from None
        if failures is not None:
            write_failures(failures, report.failures)
    _print_report(report, out, info)
    if report.failures or not report.n_pictures:
        raise typer.Exit(1)


def _export(
    settings: Settings,
    tasks: ProjectTasks,
    info: ProjectInfo,
    spec: ExportSpec,
    out: Path,
    *,
    replaces: bool,
) -> ExportReport:
    fetcher, access = image_fetcher(settings), settings.label_studio
    tags = read_drawn_tags(info.label_config)
    contents = spec.format.contents | {INDEX_FILE}
    with (
        whole_folder(out, replaces=replaces, contents=contents) as folder,
        ProgressBar(ERRORS) as bar,
    ):
        return Exporter(
            tasks=tasks,
            tags=tags,
            fetch=lambda address, task_id: fetcher.fetch(
                address, access=access, task_id=task_id
            ),
            show=lambda seen, failed, total: bar.show(
                Progress(total=total, done=seen - failed, failed=failed, is_listed=True)
            ),
        ).write(spec, folder)


def _print_report(report: ExportReport, out: Path, info: ProjectInfo) -> None:
    """What is in the folder, and all that is not, with the reason."""
    lines = [
        f"{out}: {report.n_pictures} pictures with {report.n_regions} regions, of "
        f"{report.n_tasks} tasks of project {info.title!r}."
    ]
    if report.without_annotation:
        lines.append(
            f"{report.without_annotation} tasks have no such annotation; they are not "
            f"in it."
        )
    if report.left_out:
        found = ", ".join(
            f"{count} x {what}" for what, count in report.left_out.items()
        )
        lines.append(f"Left out, as they are no masks: {found}.")
    if report.new_labels:
        names = ", ".join(map(repr, report.new_labels))
        lines.append(f"Labels that the label config does not hold, added: {names}.")
    for line in lines:
        OUTPUT.print(line, markup=False, highlight=False, soft_wrap=True)
    print_failures(ERRORS, report.failures, what="Left out, whole:")
