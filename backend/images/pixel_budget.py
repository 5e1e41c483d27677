"""How many decoded pixels the process holds at a time: whoever wants more waits.

A picture of a few kilobytes may have a hundred million pixels. Knows no picture, only
their numbers.
"""

import itertools
import threading
import weakref
from collections import deque
from typing import Any, Final

from backend.errors import ImageError
from backend.types import Turn

# How often who waits looks whether it is wanted still, and what others dropped.
_LOOK_EVERY_S: Final = 0.1


class PixelHold:
    """Pixels that somebody holds, until they say otherwise or the array is gone."""

    def __init__(self, budget: "PixelBudget", n_pixels: int) -> None:
        """Belongs to `PixelBudget.take`."""
        self._budget = budget
        self._n_pixels = n_pixels

    def release(self) -> None:
        """Let others have them. May be called twice."""
        self._budget.give_back(self._taken_out())

    def release_with(self, owner: Any) -> None:
        """Let others have them at the latest when `owner` is gone."""
        # Called wherever the last reference goes, within `take` if it so happens: it
        # must not wait for a lock.
        dropped = self._budget.dropped
        finalizer = weakref.finalize(owner, lambda: dropped.append(self._taken_out()))
        finalizer.atexit = False

    def _taken_out(self) -> int:
        n_pixels, self._n_pixels = self._n_pixels, 0
        return n_pixels


class PixelBudget:
    """Pixels for all, first come first served among equals. Any thread may call.

    Cannot lock up: whoever holds pixels never waits for more before it lets go of
    them, and one picture goes alone where it is larger than the budget.
    """

    def __init__(self, most: int) -> None:
        """Nobody holds any of the `most` pixels."""
        self._most = most
        self._held = 0
        self._numbers = itertools.count()
        # Who waits: not urgent, rank, number.
        self._line: list[tuple[bool, int, int]] = []
        self._changed = threading.Condition()
        self.dropped: deque[int] = deque()

    def take(self, n_pixels: int, turn: Turn) -> PixelHold:
        """Wait until so many pixels may be decoded.

        Raises:
            ImageError: if nobody wants them any more.
        """
        with self._changed:
            place = (not turn.is_urgent, turn.rank, next(self._numbers))
            self._line.append(place)
            try:
                while not self._is_turn_of(place, n_pixels):
                    if not turn.is_wanted():
                        raise ImageError("Nobody waits for this image any more.")
                    self._changed.wait(_LOOK_EVERY_S)
                self._held += n_pixels
            finally:
                self._line.remove(place)
                self._changed.notify_all()
        return PixelHold(self, n_pixels)

    def give_back(self, n_pixels: int) -> None:
        """Let others have so many pixels."""
        with self._changed:
            self._held -= n_pixels
            self._changed.notify_all()

    def _is_turn_of(self, place: tuple[bool, int, int], n_pixels: int) -> bool:
        while self.dropped:
            self._held -= self.dropped.popleft()
        fits = self._held + n_pixels <= self._most or self._held == 0
        # Nobody overtakes: a large one would wait for ever behind small ones.
        return fits and place == min(self._line)
