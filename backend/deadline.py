"""The moment at which work on one image must be over. Knows clocks, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Deadline:
    """A moment on a clock, handed down through everything that may wait.

    Attributes:
        ends_at_s: on `clock`.
        limit_s: what was granted in all, for messages.
        clock: monotonic seconds.
    """

    ends_at_s: float
    limit_s: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, limit_s: float, clock: Callable[[], float]) -> Self:
        """The deadline `limit_s` seconds from now."""
        return cls(clock() + limit_s, limit_s, clock)

    def remaining_s(self) -> float:
        """Seconds left, 0 when none are."""
        return max(0.0, self.ends_at_s - self.clock())
