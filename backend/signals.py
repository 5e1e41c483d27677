"""A first signal that asks for an end in good order, and a second for one at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shutdown_on_signals(
    stop: threading.Event,
    *,
    say: Callable[[str], object],
    at_once: Callable[[], object],
) -> Iterator[None]:
    """Take SIGTERM and SIGINT while the block lasts. Main thread only.

    Args:
        stop: set by the first.
        say: told what the first does.
        at_once: called by the second.
    """

    def on_signal(*_: object) -> None:
        if stop.is_set():
            at_once()
            return
        stop.set()
        say("Shutting down after the current images; press Ctrl-C again to force.")

    before = {
        number: signal.signal(number, on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
