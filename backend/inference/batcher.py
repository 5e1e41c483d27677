"""Work of many threads, done in batches, one at a time.

What threads wait for while the model computes goes along with the next batch, whoever
starts it, so that requests of single images fill a GPU. Batches have a thread of their
own: whoever started one can leave at a deadline, and the batch goes on. The same work
asked for twice is done once; urgent work overtakes what has not begun, and what is in
a hurry what is not. Knows nothing of what is computed.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class DeadlineExceeded(Exception):
    """The deadline came before the work began."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkItem(Generic[Work]):
    """One piece of work that somebody wants.

    Attributes:
        work: what to compute.
        key: items of one key want the same; one of them is computed.
        kind: work of one kind alone shares a batch.
        deadline: on the batcher's clock; nobody waits, and nothing begins, after it.
        is_urgent: goes before what is not.
        rank: goes before what has a higher one, where neither is urgent.
    """

    work: Work
    key: Hashable
    kind: Hashable
    deadline: float
    is_urgent: bool = False
    rank: int = 0


@dataclass(kw_only=True, eq=False)
class _Entry(Generic[Work, Result]):
    """Work on its way, for all who ordered it."""

    work: Work
    key: Hashable
    kind: Hashable
    items: list[WorkItem[Work]]
    result: Result | Exception | None = None

    @property
    def deadline(self) -> float:
        return max(item.deadline for item in self.items)

    @property
    def priority(self) -> tuple[bool, int]:
        """Small goes first."""
        return min((not item.is_urgent, item.rank) for item in self.items)


class MicroBatcher(Generic[Work, Result]):
    """Gathers work into batches: urgent work first, then first come first served."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing to do; `clock` gives monotonic seconds."""
        self._clock = clock
        # Both by key: in line, in the order in which it came; and being computed.
        self._waiting: dict[Hashable, _Entry[Work, Result]] = {}
        self._computing: dict[Hashable, _Entry[Work, Result]] = {}
        self._entries: dict[WorkItem[Work], _Entry[Work, Result]] = {}
        self._changed = threading.Condition()
        # Always the same one: torch keeps much per thread. An interpreter that ends
        # waits for it, where it would abort if it were inside torch.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")

    def submit(self, items: Sequence[WorkItem[Work]]) -> None:
        """Get in line; nothing is computed before somebody waits with `result`.

        Whoever submits an item has to `withdraw` it in the end, answered or not.
        """
        with self._changed:
            for item in items:
                entry = self._computing.get(item.key) or self._waiting.get(item.key)
                if entry is None:
                    entry = _Entry(
                        work=item.work, key=item.key, kind=item.kind, items=[]
                    )
                    self._waiting[item.key] = entry
                entry.items.append(item)
                self._entries[item] = entry

    @property
    def n_waiting(self) -> int:
        """Pieces of work that wait to be begun."""
        return len(self._waiting)

    def withdraw(self, items: Sequence[WorkItem[Work]]) -> None:
        """Get out of line again; what is being computed goes on."""
        with self._changed:
            for item in items:
                entry = self._entries.pop(item)
                entry.items.remove(item)
                if not entry.items and self._waiting.get(item.key) is entry:
                    del self._waiting[item.key]

    def result(
        self,
        item: WorkItem[Work],
        compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        *,
        most: int,
    ) -> Result | Exception:
        """Wait for a result, and have a batch begun when none is being computed.

        Args:
            item: submitted and not withdrawn.
            compute: one result per piece of work, all of one kind. If it raises for
                several, each is tried alone, so that one costs the others nothing.
            most: pieces of work in a batch.

        Returns:
            The result, what `compute` raised for this work, or `DeadlineExceeded`.
        """
        entry = self._entries[item]
        while True:
            with self._changed:
                while entry.result is None and self._computing:
                    left_s = item.deadline - self._clock()
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)
                if entry.result is not None:
                    return entry.result
                if self._clock() >= item.deadline:
                    # What has been begun goes on, for the cache and the next request.
                    return DeadlineExceeded()
                batch = self._take(most)
            if batch:  # not if the deadline came between two looks at the clock
                self._thread.submit(self._compute, batch, compute)

    def _take(self, most: int) -> list[_Entry[Work, Result]]:
        """The first in line, and others of its kind, as far as anybody waits."""
        now = self._clock()
        # Sorting keeps the order in which equals came.
        in_line = sorted(
            (entry for entry in self._waiting.values() if entry.deadline > now),
            key=lambda entry: entry.priority,
        )
        batch = [entry for entry in in_line if entry.kind == in_line[0].kind][:most]
        for entry in batch:
            self._computing[entry.key] = self._waiting.pop(entry.key)
        return batch

    def _compute(
        self,
        batch: Sequence[_Entry[Work, Result]],
        compute: Callable[[Sequence[Work]], Sequence[Result | Exception]],
    ) -> None:
        results: list[Result | Exception] = []
        try:
            results = _all_or_each([entry.work for entry in batch], compute)
        finally:
            with self._changed:
                self._computing.clear()
                # Short of results only where something beyond an Exception ends
                # this thread; nobody is to wait for it.
                for index, entry in enumerate(batch):
                    entry.result = (
                        results[index] if index < len(results) else DeadlineExceeded()
                    )
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
