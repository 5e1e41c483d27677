"""`diffsegmenter serve`: gunicorn, configured by our settings."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from rich.console import Console

from backend.cli.refusals import exit_on_refusal
from backend.engine import configure_logging, settings_cache
from backend.server import build_app, server_options
from backend.settings import Settings
from segmenter import ModelSource

if TYPE_CHECKING:
    from backend.doctor import Finding

_errors = Console(stderr=True)


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our settings instead of its own command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in server_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application, in the worker process."""
        return build_app(self._settings, doctor=partial(examined, self._settings))


def app_from_environment() -> Flask:
    """The same application for gunicorn's own command line, as in the container."""
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    return build_app(settings, doctor=partial(examined, settings))


def examined(settings: Settings, project_id: int | None) -> "Iterator[Finding]":
    """What the doctor says; it is needed when somebody asks, not at the start."""
    from backend.doctor import examine

    return examine(settings, project_id=project_id)


def command() -> None:
    """Serve Label Studio. Everything is set by environment variables."""
    with exit_on_refusal():
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
    Server(settings).run()
