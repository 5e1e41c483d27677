"""So many at a time, so many more in line, and none of them for long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.exceptions import ServiceUnavailable


class Turns:
    """Takes turns at one kind of work. Any thread may call."""

    def __init__(self, *, at_once: int, in_line: int, patience_s: float) -> None:
        """Nobody is in line yet.

        Args:
            at_once: who are served at a time.
            in_line: who may wait beside them.
            patience_s: how long each waits.
        """
        self._served = threading.Semaphore(at_once)
        self._admitted = threading.Semaphore(at_once + in_line)
        self._patience_s = patience_s

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and keep it while the block lasts.

        Raises:
            ServiceUnavailable: if there is none in time.
        """
        if not self._admitted.acquire(blocking=False):
            raise _busy()
        try:
            if not self._served.acquire(timeout=self._patience_s):
                raise _busy()
            try:
                yield
            finally:
                self._served.release()
        finally:
            self._admitted.release()


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable(
        "Too many requests of this kind at once. Send it again in a few seconds.",
        retry_after=5,
    )
