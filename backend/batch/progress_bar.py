"""A run's progress on a terminal: a bar with rate and time left, or lines in a log."""

import time
from collections.abc import Callable, Mapping
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
_FAILURES_SHOWN: Final = 20


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
        closed = progress.done + progress.failed
        if progress.waiting_to_retry:
            wait = f"{progress.waiting_to_retry} waiting to retry"
            note = f"{wait}; {note}" if note else wait
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


def print_failures(
    console: Console,
    failures: Mapping[int, str],
    *,
    what: str = "No prediction for",
) -> None:
    """List tasks that were given up, the first of many."""
    if not failures:
        return
    console.print(f"\n{what} {len(failures)} tasks:", style="yellow")
    for task_id in sorted(failures)[:_FAILURES_SHOWN]:
        console.print(
            f"  task {task_id}: {failures[task_id]}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if len(failures) > _FAILURES_SHOWN:
        console.print(
            f"  and {len(failures) - _FAILURES_SHOWN} more; --failures FILE writes all"
        )
