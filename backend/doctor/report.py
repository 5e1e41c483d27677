"""Findings in, text for people or JSON for scripts out."""

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.doctor.findings import Finding, Level

_STYLES: Final[dict[Level, str]] = {
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "skipped": "dim",
}
_LEVEL_WIDTH: Final = max(map(len, _STYLES))


def print_findings(findings: Iterable[Finding], console: Console) -> bool:
    """Print each finding as it comes; return whether none is a problem."""
    levels: Counter[Level] = Counter()
    with _spinner(console):
        for finding in findings:
            levels[finding.level] += 1
            _print_finding(finding, console)
    console.print(f"\n{_sum_up(levels)}", markup=False, highlight=False)
    return levels["problem"] == 0


def print_json(findings: Iterable[Finding], console: Console) -> bool:
    """Print one JSON object; return whether no finding is a problem.

    Its "findings" hold the fields of `Finding`; "problems" and "warnings" are counts.
    """
    all_findings = list(findings)
    levels = Counter(finding.level for finding in all_findings)
    report = {
        "problems": levels["problem"],
        "warnings": levels["warning"],
        "findings": [asdict(finding) for finding in all_findings],
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return levels["problem"] == 0


def _spinner(console: Console) -> AbstractContextManager[Any]:
    """Something that moves meanwhile: a model takes its time to load."""
    return console.status("looking ...") if console.is_terminal else nullcontext()


def _print_finding(finding: Finding, console: Console) -> None:
    level = Text(finding.level, _STYLES[finding.level])
    lines = [Text.assemble((finding.subject, "bold"), ": ", finding.seen)]
    if finding.remedy is not None:
        lines.append(Text.assemble(("-> ", "bold"), finding.remedy))
    lines += [Text(f"   {line}") for line in finding.details]
    if not console.is_terminal:
        # One line for each thing where nobody watches: for grep, and for log files.
        level.pad_right(_LEVEL_WIDTH + 1 - len(level))
        for line in lines:
            console.print(Text.assemble(level, line), soft_wrap=True)
            level = Text(" " * (_LEVEL_WIDTH + 1))
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LEVEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for number, line in enumerate(lines):
        grid.add_row(level if number == 0 else "", line)
    console.print(grid)


def _sum_up(levels: Counter[Level]) -> str:
    if not levels["problem"] and not levels["warning"]:
        return "Nothing is wrong."
    counts = [
        f"{levels[level]} {level}{'s' if levels[level] > 1 else ''}"
        for level in ("problem", "warning")
        if levels[level]
    ]
    return f"{' and '.join(counts)}."
