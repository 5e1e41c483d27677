"""`feedback show` and `feedback export`: what was corrected, and what it taught."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from backend.cli.feedback.opened import (
    ERRORS,
    OUTPUT,
    ProjectOption,
    opened_store,
    say,
)
from backend.feedback import (
    Correction,
    FeedbackStore,
    ProjectSummary,
    TaughtHeads,
    read_heads,
    summarise,
)


def show(project: ProjectOption) -> None:
    """Say what a project's labels have learned, and how much of it was of use."""
    with opened_store() as store:
        name = str(project)
        taught = store.heads(name)
        is_frozen = store.is_frozen(name)
        summary = summarise(store.corrections(name), read_heads(taught, name))
    _print_project(project, summary, taught, is_frozen=is_frozen)
    if summary.labels:
        OUTPUT.print(_table(summary))


def export(
    project: ProjectOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write; without it, standard output."),
    ] = None,
) -> None:
    """Write a project's corrections as JSON, without pictures and people's names."""
    with opened_store() as store:
        record = _record(store, str(project))
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        say(f"{out} cannot be written: {error}.", ERRORS, style="red")
        raise typer.Exit(1) from None


def _record(store: FeedbackStore, project: str) -> dict[str, Any]:
    corrections, taught = store.corrections(project), store.heads(project)
    return {
        "project": project,
        "version": taught.version if taught else 0,
        "made_at": taught.made_at if taught else None,
        "is_frozen": store.is_frozen(project),
        "summary": asdict(summarise(corrections, read_heads(taught, project))),
        "corrections": [_entry(one) for one in corrections],
    }


def _entry(correction: Correction) -> dict[str, Any]:
    entry = asdict(correction)
    entry["examples_bytes"] = [len(one) for one in entry.pop("examples")]
    return entry


def _print_project(
    project: int,
    summary: ProjectSummary,
    taught: TaughtHeads | None,
    *,
    is_frozen: bool,
) -> None:
    if not summary.n_corrections and taught is None:
        say(
            f"Nothing is kept of project {project}. Connect the backend's webhook, or "
            f"run `diffsegmenter feedback import --project {project}`; "
            f"docs/feedback.md says more."
        )
        return
    line = f"Project {project}: {summary.n_corrections} corrected tasks"
    if summary.n_pending:
        line += f", of which the pictures of {summary.n_pending} are still to be read"
    if taught is None:
        line += "; nothing was learned yet"
    elif not any(label.examples_weight_01 for label in summary.labels):
        line += f"; learned at {taught.made_at}, and words alone are better still"
    else:
        line += f"; version {taught.version} of {taught.made_at} counts"
        line += f" (learned from {taught.n_corrections})"
    say(line + ("; frozen." if is_frozen else "."))
    regions = summary.regions
    say(
        f"Of {regions.n_answered} predicted regions {_percent(regions.accepted_01)} "
        f"were accepted untouched, {_percent(regions.iou_90_01)} at IoU 0.90 and "
        f"{_percent(regions.iou_95_01)} at 0.95; {regions.n_drawn} were drawn by hand."
    )
    say(
        f"Time for a task (median): {_seconds(summary.lead_time_with_s)} with "
        f"predictions, {_seconds(summary.lead_time_without_s)} without."
    )


def _table(summary: ProjectSummary) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    for head in (
        "examples",
        "without it",
        "accepted",
        "IoU corrected",
        "words",
        "examples' say",
        "gain (IoU)",
    ):
        table.add_column(head, justify="right")
    for label in summary.labels:
        table.add_row(
            Text(label.label),
            str(label.n_examples),
            str(label.n_counterexamples),
            _percent(label.regions.accepted_01),
            _number(label.regions.corrected_iou_01),
            f"{1 - label.examples_weight_01:.2f}",
            f"{label.examples_weight_01:.2f}",
            f"{label.expected_gain:+.2f}",
        )
    return table


def _percent(share_01: float | None) -> str:
    return "-" if share_01 is None else f"{100 * share_01:.0f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(value_s: float | None) -> str:
    return "not known" if value_s is None else f"{value_s:.0f} s"
