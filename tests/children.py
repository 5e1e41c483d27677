"""Processes of a test's own: none outlives its block, however the test ends."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def child(command: Sequence[str], **how: Any) -> "Iterator[subprocess.Popen[str]]":
    """Start a process that speaks text; what still runs in the end is killed."""
    with subprocess.Popen(command, text=True, **how) as process:
        try:
            yield process
        finally:
            # First: leaving the block of a Popen waits for it, for however long.
            process.kill()
