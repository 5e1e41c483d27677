"""A run's progress on a terminal: a bar with rate and time left, or lines in a log."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from backend.batch.run_records import Progress

# The rate is of the last minute: what changed since is what the time left depends on.
_WINDOW_S: Final = 60.0
_LINE_EVERY_S: Final = 30.0
# In a log the first line comes soon: that no worker is there, say.
_FIRST_LINE_S: Final = 3.0
_REASONS_SHOWN: Final = 20
_IDS_SHOWN: Final = 10
# What one task's reason names and another's does not: addresses and quoted texts.
_OF_ONE_TASK: Final = re.compile(
    r"""\w+://\S+|data:\S+ \(\d+ characters\)|/data/\S+|'[^']*'|"[^"]*\""""
)


class ProgressBar:
    """Shows one run while its `with` block lasts."""

    def __init__(
        self, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Draw on this console; where it is no terminal, print a line now and then."""
        self._console = console
        self._clock = clock
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            speed_estimate_period=_WINDOW_S,
            get_time=clock,
            disable=not console.is_terminal,
        )
        self._bar.add_task("tasks", total=None, speed="", left="", note="")
        self._last_line = clock() - _LINE_EVERY_S + _FIRST_LINE_S

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress, note: str = "") -> None:
        """Draw the progress.

        Args:
            progress: of the run.
            note: what else is worth a look, such as that no worker is there.
        """
        closed = progress.closed
        if progress.waiting_to_retry:
            wait = f"{progress.waiting_to_retry} waiting to retry"
            if progress.retry_in_s is not None:
                wait += f", {next_try(progress.retry_in_s)}"
            note = f"{wait}; {note}" if note else wait
        if progress.gone:
            note = f"{progress.gone} deleted" + (f"; {note}" if note else "")
        if progress.failed:
            note = f"{progress.failed} failed" + (f"; {note}" if note else "")
        if not progress.is_listed and not progress.is_canceled:
            note = f"{note}; still listing" if note else "still listing"
        speed = self._advance(progress, closed, note)
        now = self._clock()
        if not self._console.is_terminal and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            self._console.print(
                f"{closed} of {progress.total} tasks"
                + (f", {speed}" if speed else "")
                + (f" ({note})" if note else ""),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _advance(self, progress: Progress, closed: int, note: str) -> str:
        """Move the bar, and say how fast it has moved."""
        (task,) = self._bar.tasks
        # What Redis lost takes the bar back, and is no speed.
        self._bar.update(
            task.id,
            total=progress.total or None,
            completed=min(closed, task.completed),
            left="left" if progress.total else "",
            note=note,
        )
        # Also by nothing: a run that stands still becomes slower.
        self._bar.advance(task.id, closed - task.completed)
        # While the rest waits for its time, no speed says how long it takes.
        is_resting = progress.waiting_to_retry >= progress.missing > 0
        speed = "" if is_resting or not task.speed else _speed_text(task.speed)
        self._bar.update(task.id, speed=speed)
        return speed


def _speed_text(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 job" and "2 jobs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def next_try(in_s: float) -> str:
    """When tasks that wait are tried again."""
    return f"next try in {in_s:.0f} s"


def print_failures(
    console: Console,
    failures: Mapping[int, str],
    *,
    what: str = "No prediction for",
) -> None:
    """List why tasks were given up, each reason once, the most frequent first."""
    if not failures:
        return
    console.print(f"\n{what} {counted(len(failures), 'task')}:", style="yellow")
    groups = alike_failures(failures)
    for reason, task_ids in groups[:_REASONS_SHOWN]:
        console.print(
            f"  {_failure_line(reason, task_ids)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    n_more = sum(len(task_ids) for _, task_ids in groups[_REASONS_SHOWN:])
    if n_more:
        console.print(f"  and {n_more} more; --failures FILE writes all")
    elif len(groups) < len(failures):
        console.print("  --failures FILE writes each with its reason")


def _failure_line(reason: str, task_ids: Sequence[int]) -> str:
    if len(task_ids) == 1:
        return f"task {task_ids[0]}: {reason}"
    named = [str(task_id) for task_id in task_ids[:_IDS_SHOWN]]
    if len(task_ids) > _IDS_SHOWN:
        named.append("...")
    return f"{len(task_ids)} tasks: {reason} ({', '.join(named)})"


def alike_failures(failures: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    """Reasons that differ in an address or a name only, with the tasks they are of."""
    by_pattern: defaultdict[str, list[int]] = defaultdict(list)
    for task_id in sorted(failures):
        by_pattern[_OF_ONE_TASK.sub("…", failures[task_id])].append(task_id)
    groups = [
        (pattern if len({failures[t] for t in ids}) > 1 else failures[ids[0]], ids)
        for pattern, ids in by_pattern.items()
    ]
    return sorted(groups, key=lambda group: -len(group[1]))
