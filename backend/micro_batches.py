"""Work of many threads, done in batches by whichever of them is free.

The model computes for one thread at a time. What other threads wait for meanwhile
goes along with the next batch, whoever starts it, so that requests of single images
fill a GPU. Knows nothing of what is computed.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class OutOfTime(Exception):
    """The deadline came before the work's turn."""


@dataclass(eq=False, kw_only=True)
class Ticket(Generic[Work, Result]):
    """One piece of work on its way.

    Attributes:
        work: what to compute.
        kind: work of one kind alone shares a batch.
        deadline: on the batcher's clock; the work is not begun after it.
        result: once it is there, the result or why there is none.
    """

    work: Work
    kind: Hashable
    deadline: float
    result: Result | Exception | None = None


class MicroBatcher(Generic[Work, Result]):
    """Gathers work into batches, first come first served."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing to do; `clock` gives monotonic seconds."""
        self._clock = clock
        self._waiting: deque[Ticket[Work, Result]] = deque()
        self._is_busy = False
        self._changed = threading.Condition()

    def submit(self, tickets: Sequence[Ticket[Work, Result]]) -> None:
        """Get in line; nothing is computed before somebody waits with `result`."""
        with self._changed:
            self._waiting.extend(tickets)

    def withdraw(self, tickets: Sequence[Ticket[Work, Result]]) -> None:
        """Get out of line again; what is being computed goes on."""
        with self._changed:
            for ticket in tickets:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)

    def result(
        self,
        ticket: Ticket[Work, Result],
        compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        *,
        most: int,
    ) -> Result | Exception:
        """Wait for a result, and compute for all who wait when nobody else does.

        Args:
            ticket: in line.
            compute: one result per piece of work, all of one kind. If it raises for
                several, each is tried alone, so that one costs the others nothing.
            most: pieces of work in a batch.

        Returns:
            The result, what `compute` raised for this work, or `OutOfTime`.
        """
        while True:
            with self._changed:
                while ticket.result is None and self._is_busy:
                    left_s = ticket.deadline - self._clock()
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)
                if ticket.result is not None:
                    return ticket.result
                if self._clock() >= ticket.deadline:
                    # What has been begun goes on, for the cache and the next request.
                    if ticket in self._waiting:
                        self._waiting.remove(ticket)
                    return OutOfTime()
                batch = self._take(most)
                if not batch:  # the deadline came between the two looks at the clock
                    continue
                self._is_busy = True
            self._compute(batch, compute)

    def _take(self, most: int) -> list[Ticket[Work, Result]]:
        """The first in line, and others of its kind that are still worth it."""
        now = self._clock()
        late = [ticket for ticket in self._waiting if ticket.deadline <= now]
        for ticket in late:
            ticket.result = OutOfTime()
            self._waiting.remove(ticket)
        batch = [t for t in self._waiting if t.kind == self._waiting[0].kind][:most]
        for ticket in batch:
            self._waiting.remove(ticket)
        return batch

    def _compute(
        self,
        batch: Sequence[Ticket[Work, Result]],
        compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
    ) -> None:
        results: list[Result | Exception] = []
        try:
            results = _all_or_each([ticket.work for ticket in batch], compute)
        finally:
            with self._changed:
                # Short of results only where something beyond an Exception ends
                # this thread; nobody is to wait for it.
                for place, ticket in enumerate(batch):
                    ticket.result = (
                        results[place] if place < len(results) else OutOfTime()
                    )
                self._is_busy = False
                self._changed.notify_all()


def _all_or_each(
    work: Sequence[Work],
    compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
) -> list[Result | Exception]:
    """Results of all together; of each alone where that does not go well."""
    # The border to the model: running out of GPU memory, or a fault in a library
    # below, cost one image and not its batch.
    try:
        return list(compute(work))
    except Exception as error:
        if len(work) == 1:
            return [error]
    return [_all_or_each([one], compute)[0] for one in work]
