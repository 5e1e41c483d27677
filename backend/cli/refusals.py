"""What is refused on purpose, as a person at a terminal reads it."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import typer

from backend.batch import ERRORS
from backend.errors import BackendError
from backend.redis_client import network_reason
from segmenter import SegmenterError


@contextmanager
def exit_on_refusal() -> Iterator[None]:
    """Turn what is refused into one red paragraph and an exit status."""
    try:
        yield
    except (BackendError, SegmenterError) as error:
        ERRORS.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except redis.RedisError as error:
        ERRORS.print(
            f"REDIS_URL cannot be used: {network_reason(error) or 'Redis refuses'}. "
            f"`diffsegmenter doctor` says more; `--here` does without.",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(2) from error
