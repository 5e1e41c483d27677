"""A run's progress on a terminal: a bar with rate and time left, or lines in a log."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

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
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("tasks", total=None, note="", rate=None)
        self._pace = _Pace(clock)
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
        # While the rest waits for its time, no rate says how long it takes.
        is_resting = progress.waiting_to_retry >= progress.missing > 0
        rate = None if is_resting else self._pace.rate(closed)
        if progress.waiting_to_retry:
            wait = f"{progress.waiting_to_retry} waiting to retry"
            note = f"{wait}; {note}" if note else wait
        if progress.failed:
            note = f"{progress.failed} failed" + (f"; {note}" if note else "")
        if not progress.is_listed and not progress.is_canceled:
            note = f"{note}; still listing" if note else "still listing"
        self._bar.update(
            self._task,
            total=progress.total or None,
            completed=closed,
            note=note,
            rate=rate,
        )
        now = self._clock()
        if not self._console.is_terminal and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            speed = "" if rate is None else f", {_speed_text(rate)}"
            self._console.print(
                f"{closed} of {progress.total} tasks{speed}"
                + (f" ({note})" if note else ""),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


class _Pace:
    """Tasks per second over the last minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, closed: int) -> float | None:
        now = self._clock()
        if not self._seen or self._seen[-1][1] != closed:
            self._seen.append((now, closed))
        while len(self._seen) > 2 and now - self._seen[1][0] > _WINDOW_S:
            self._seen.popleft()
        began, closed_then = self._seen[0]
        if now - began < 1 or closed <= closed_then:
            return None
        return (closed - closed_then) / (now - began)


class _Rate(ProgressColumn):
    """Tasks per second, and how long the rest takes at that."""

    def render(self, task: Task) -> Text:
        rate = task.fields.get("rate")
        if not rate:
            return Text("-:--")
        left_s = ((task.total or 0) - task.completed) / rate
        return Text(f"{_speed_text(rate)}, {_duration_text(left_s)} left")


def _speed_text(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def _duration_text(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def print_failures(console: Console, failures: Mapping[int, str]) -> None:
    """List tasks that were given up, the first of many."""
    if not failures:
        return
    console.print(f"\nNo prediction for {len(failures)} tasks:", style="yellow")
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
