"""`diffsegmenter cache`: look at what is cached, and forget it."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.console import Console

from backend.cache import Cache, MemoryUsage, open_cache
from backend.cli.refusals import exit_on_refusal
from backend.settings import Settings

_output = Console()
_errors = Console(stderr=True)

command = typer.Typer(
    help="Look at what is cached, and forget it.", no_args_is_help=True
)


@command.command()
def stats() -> None:
    """Say where results are cached, how many, and how large.

    Reads the same environment variables as `serve`.
    """
    with _open_cache() as store:
        size = store.measure()
        if size is None:
            raise _out_of_reach(store)
        line = f"{store.describe()}: {size.entries} results, {size.bytes / 1e6:.1f} MB"
        if size.entries:
            line += f", {size.bytes / size.entries / 1e3:.1f} kB each"
        if size.room is not None:
            line += f". It uses {_memory(size.room)}"
        _output.print(line, markup=False, soft_wrap=True)


@command.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget all cached results; the model computes them anew when they are needed."""
    with _open_cache() as store:
        if not yes:
            typer.confirm(f"{store.describe()}: forget all results?", abort=True)
        removed = store.clear()
        if removed is None:
            raise _out_of_reach(store)
        _output.print(f"Forgot {removed} results.")


def _memory(room: MemoryUsage) -> str:
    used = f"{room.used_bytes / 1e6:.1f}"
    if not room.limit_bytes:
        return f"{used} MB in all, without a limit"
    return f"{used} of {room.limit_bytes / 1e6:.1f} MB in all, policy {room.policy}"


@contextmanager
def _open_cache() -> Iterator[Cache]:
    """The cache of the environment's settings."""
    # What the store logs is meant for a backend, which goes on without it.
    logging.basicConfig(level="CRITICAL")
    with exit_on_refusal():
        settings = Settings.from_env()
        redis_url = settings.redis_url
        store = open_cache(
            redis_url.get_secret_value() if redis_url else None,
            settings.cache_dir,
            settings.cache_ttl_s,
        )
    with closing(store):
        yield store


def _out_of_reach(store: Cache) -> typer.Exit:
    _errors.print(
        f"{store.describe()} cannot be used; `diffsegmenter doctor` says why.",
        style="red",
        markup=False,
        soft_wrap=True,
    )
    return typer.Exit(1)
