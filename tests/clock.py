"""A clock that a test moves by hand, and one that it is held to."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds since whenever; `now` may be set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Hold a block to its promise, with room for a busy machine."""
    started_s = time.monotonic()
    yield
    took_s = time.monotonic() - started_s
    assert took_s < seconds, f"it took {took_s:.1f} s"
