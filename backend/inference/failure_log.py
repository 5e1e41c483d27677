"""Tasks that failed in, few lines of log out: what fails alike is summed up.

A request names thousands of tasks in a few kilobytes, and each may fail.
"""

import logging
import re
import threading
from collections import Counter
from typing import Final, Self

logger = logging.getLogger(__name__)

# Of each kind, and of all kinds of one request.
_LINES_PER_KIND: Final = 3
_LINES: Final = 30
_LONGEST_REASON: Final = 1000
# What differs between two failures of a kind: names, addresses, numbers. Words begin
# behind blanks, quotes and brackets alone, so that a long one is read once.
_PARTICULARS: Final = re.compile(
    r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|(?<![^\s'\"\]])[^\s\d/]*+[\d/]\S*"
)


class FailureLog:
    """Logs the failures of one request, those alike summed up when its block ends."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._examples: dict[str, int | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sum_up()

    def add(self, task_id: int | None, failure: Exception) -> None:
        """Log why a task has no prediction, unless enough others had the same."""
        reason = (str(failure) or type(failure).__name__)[:_LONGEST_REASON]
        kind = f"{type(failure).__name__} {_PARTICULARS.sub('…', reason)}"
        with self._lock:
            n_lines = sum(min(n, _LINES_PER_KIND) for n in self._seen.values())
            if kind not in self._seen and n_lines >= _LINES:
                kind = "others"
            self._seen[kind] += 1
            self._examples.setdefault(kind, task_id)
            is_told = self._seen[kind] > _LINES_PER_KIND or kind == "others"
        if not is_told:
            logger.warning("Task %s has no prediction: %s", task_id, reason)

    def _sum_up(self) -> None:
        """Log how many more there were of each kind."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        for kind, number in seen.items():
            if kind == "others":
                logger.warning(
                    "%d more tasks have no prediction, for other reasons.", number
                )
            elif number > _LINES_PER_KIND:
                logger.warning(
                    "%d more tasks have no prediction, for a reason like that of "
                    "task %s.",
                    number - _LINES_PER_KIND,
                    self._examples[kind],
                )
