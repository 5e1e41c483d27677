"""The `diffsegmenter` command."""

from typing import Any

import typer
from gunicorn.app.base import BaseApplication
from rich.console import Console

from backend.errors import SettingsError
from backend.settings import Settings
from backend.wsgi import (
    build_app,
    configure_logging,
    server_options,
    settings_cache,
)
from segmenter import ModelSource, SegmenterError
from segmenter.commands import segment_picture

app = typer.Typer(
    help="Open-vocabulary masks for Label Studio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_errors = Console(stderr=True)

app.command(name="segment")(segment_picture)


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
    try:
        settings = Settings.from_env()
        # Asked here as well, so that a misspelt model stops the start, and so does
        # a REDIS_URL that redis-py alone can judge.
        ModelSource.parse(settings.model)
        settings_cache(settings)
    except (SettingsError, SegmenterError) as error:
        _errors.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    configure_logging(settings.log_level)
    _errors.print(
        f"DiffSegmenter listens on http://{server_options(settings)['bind']}, model "
        f"{settings.model}. Enter this address in Label Studio under "
        f"Settings > Model.",
        markup=False,
        soft_wrap=True,
    )
    _Server(settings).run()


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
