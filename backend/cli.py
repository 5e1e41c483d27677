"""The `diffsegmenter` command."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer
from gunicorn.app.base import BaseApplication
from rich.console import Console

from backend.batch_session import explained
from backend.cache import Cache
from backend.cache_health import Room
from backend.doctor.findings import Finding, problem
from backend.doctor.report import print_findings, print_json
from backend.errors import SettingsError
from backend.preannotate import preannotate, worker
from backend.settings import Settings
from backend.wsgi import (
    build_app,
    configure_logging,
    server_options,
    settings_cache,
)
from segmenter import ModelSource
from segmenter.cli import segment_picture
from segmenter.evaluation import evaluate_folder

app = typer.Typer(
    help="Open-vocabulary masks for Label Studio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_output = Console()
_errors = Console(stderr=True)

app.command(name="segment")(segment_picture)
app.command(name="evaluate")(evaluate_folder)
app.command()(preannotate)
app.command()(worker)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our settings instead of its own command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in server_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return build_app(self._settings)


@app.command()
def serve() -> None:
    """Serve Label Studio. Everything is set by environment variables."""
    with explained():
        settings = Settings.from_env()
        # Asked here as well, so that a misspelt model stops the start, and so does
        # a REDIS_URL that redis-py alone can judge.
        ModelSource.parse(settings.model)
        settings_cache(settings)
    configure_logging(settings.log_level)
    _errors.print(
        f"DiffSegmenter listens on http://{server_options(settings)['bind']}, model "
        f"{settings.model}. Enter this address in Label Studio under "
        f"Settings > Model.",
        markup=False,
        soft_wrap=True,
    )
    _Server(settings).run()


@app.command()
def doctor(
    project: Annotated[
        int | None, typer.Option(help="A project of Label Studio to try.")
    ] = None,
    task: Annotated[
        int | None, typer.Option(help="Its task to try; else the first.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for scripts.")
    ] = False,
) -> None:
    """Find out what keeps Label Studio and this backend from working together.

    Reads the same environment variables as `serve`, loads the model once more beside
    a running backend, changes nothing anywhere, and says what to do. Exit status: 0
    no problem, 1 a problem, 2 unreadable settings.
    """
    # Imports torch, which `serve` has no time for.
    from backend.doctor import examine

    print_all = print_json if as_json else print_findings
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        mistakes = str(error).splitlines()[1:]
        print_all([_unreadable(mistakes)], _output)
        raise typer.Exit(2) from error
    # Warnings of libraries say nothing that a finding would not.
    configure_logging("ERROR")
    if not print_all(examine(settings, project_id=project, task_id=task), _output):
        raise typer.Exit(1)


cache = typer.Typer(help="Look at what is cached, and forget it.", no_args_is_help=True)
app.add_typer(cache, name="cache")


@cache.command()
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


@cache.command()
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


def _memory(room: Room) -> str:
    used = f"{room.used_bytes / 1e6:.1f}"
    if not room.limit_bytes:
        return f"{used} MB in all, without a limit"
    return f"{used} of {room.limit_bytes / 1e6:.1f} MB in all, policy {room.policy}"


@contextmanager
def _open_cache() -> Iterator[Cache]:
    """The cache of the environment's settings."""
    # What the store logs is meant for a backend, which goes on without it.
    configure_logging("CRITICAL")
    with explained():
        store = settings_cache(Settings.from_env())
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


def _unreadable(mistakes: list[str]) -> Finding:
    return problem(
        "settings",
        "the backend cannot start with these environment variables",
        "Correct them:",
        *(mistake.strip() for mistake in mistakes),
    )


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
