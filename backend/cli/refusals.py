"""What is refused on purpose, as a person at a terminal reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console

from backend.errors import BackendError
from segmenter import SegmenterError

_ERRORS: Final = Console(stderr=True)


@contextmanager
def exit_on_refusal() -> Iterator[None]:
    """Turn what is refused into one red paragraph and an exit status."""
    try:
        yield
    except (BackendError, SegmenterError) as error:
        _ERRORS.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except Exception as error:
        # Imported by whoever raises it.
        from redis import RedisError

        from backend.redis_client import network_reason

        if not isinstance(error, RedisError):
            raise
        _ERRORS.print(
            f"REDIS_URL cannot be used: {network_reason(error) or 'Redis refuses'}. "
            f"`diffsegmenter doctor` says more; `--here` does without.",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2) from error
