"""How long the stages of a pass take, for whoever listens to it.

Wall time on the host. A GPU works on after it was told what to do: what it is behind
with is waited for, and counted, in the stage that first looks at a result ("maps"). A
stage may come in parts, each told of its own: of presence, a look at the image and what
labels make of it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Stage = Literal["presence", "encode", "backbone", "maps"]

# Told a stage and the seconds that it took.
Listener = Callable[[str, float], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time what is done in the block, or in the function that this decorates."""
    listener = _listener.get()
    started = time.perf_counter()
    try:
        yield
    finally:
        if listener is not None:
            listener(name, time.perf_counter() - started)


@contextmanager
def told_to(listener: Listener | None) -> Iterator[None]:
    """Tell somebody of the stages in the block, as far as this thread does them."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
