"""Looks at a whole installation, in the order in which things fail in practice.

Settings in, findings out, one by one as they are made. The checks are next
door; here is their order, and what one needs of another.
"""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from backend.doctor.cache import check_cache
from backend.doctor.clicks import check_clicks
from backend.doctor.connection import check_connection
from backend.doctor.findings import Check, Finding, T, problem, scrub, skipped
from backend.doctor.label_studio import check_address, check_token
from backend.doctor.labels import check_label_config
from backend.doctor.learning import check_learning
from backend.doctor.machine import check_listening, check_settings
from backend.doctor.model import check_device, check_loading, check_weights
from backend.doctor.project import Project, find_project, why_no_project
from backend.doctor.running import find_running
from backend.doctor.sample import check_prediction, check_sample
from backend.doctor.score import check_score
from backend.doctor.workers import check_workers
from backend.engine import (
    build_engine,
    control_defaults,
    image_fetcher,
    settings_feedback,
)
from backend.errors import SettingsError
from backend.images import ImageFetcher
from backend.inference import Predictor
from backend.label_studio import LabelStudioClient
from backend.redis_client import redis_client, redis_secrets
from backend.settings import Settings
from segmenter import SegmenterError


def examine(
    settings: Settings,
    *,
    project_id: int | None = None,
    task_id: int | None = None,
    loads: bool = False,
) -> Iterator[Finding]:
    """Check everything.

    Args:
        settings: of the operator.
        project_id: the project to try; None tries none.
        task_id: its task to try; None takes the first.
        loads: whether the model is loaded here even if a backend that runs has it.

    Returns:
        Findings without secrets, each as soon as it is made. Never raises.
    """
    secrets = _secrets(settings)
    with tempfile.TemporaryDirectory(prefix="diffsegmenter-doctor-") as folder:
        for finding in _all_checks(
            settings, project_id, task_id, Path(folder), loads=loads
        ):
            yield scrub(finding, secrets)


def _all_checks(
    settings: Settings,
    project_id: int | None,
    task_id: int | None,
    folder: Path,
    *,
    loads: bool,
) -> Check[None]:
    yield from _guard("settings", check_settings(settings))
    yield from _guard("listening", check_listening(settings))
    with contextlib.ExitStack() as opened:
        client = yield from _open_label_studio(
            settings, is_needed=project_id is not None
        )
        project = yield from _guard("project", find_project(client, project_id))
        no_project = why_no_project(client, project_id)
        fetcher = image_fetcher(settings)
        build = functools.cache(
            lambda: _open_annotator(settings, opened, folder, fetcher)
        )
        version = _expected_version(build, project)
        rows = yield from _guard(
            "connection",
            check_connection(
                settings,
                client,
                project,
                no_project=no_project,
                expected_version=lambda: version,
            ),
        )
        yield from _guard(
            "score", check_score(client, project, version, no_project=no_project)
        )
        config = yield from _guard(
            "label config",
            check_label_config(
                project, control_defaults(settings), no_project=no_project
            ),
        )
        yield from _guard(
            "clicks", check_clicks(project, config, rows, no_project=no_project)
        )
        yield from _guard("learning", check_learning(settings, project))
        running = None
        if not loads:
            expected = version if project else _version_of(build, "")
            running = find_running(settings, project, expected)
        has_weights = yield from _guard("weights", check_weights(settings))
        has_device = yield from _guard("device", check_device(settings, running))
        predictor = yield from _guard(
            "loading",
            check_loading(
                build,
                is_possible=bool(has_weights and has_device),
                running=running,
            ),
        )
        yield from _guard("cache", check_cache(settings))
        yield from _guard("workers", _check_workers(settings, build))
        task = yield from _guard(
            "image",
            check_sample(
                client,
                project,
                config,
                fetcher,
                task_id=task_id,
                no_project=no_project,
            ),
        )
        yield from _guard(
            "prediction",
            check_prediction(
                predictor,
                project,
                config,
                task,
                settings.label_studio,
                running=running,
            ),
        )


def _check_workers(settings: Settings, build: Callable[[], Predictor]) -> Check[None]:
    try:
        name = "" if settings.redis_url is None else build().queue_name
    except SegmenterError:
        yield skipped("workers", "the model cannot be loaded")
        return
    yield from check_workers(settings, name)


def _open_label_studio(
    settings: Settings, *, is_needed: bool
) -> Check[LabelStudioClient | None]:
    """Check address and token; returns a client only if both are good."""
    is_there = yield from _guard(
        "Label Studio", check_address(settings, is_needed=is_needed)
    )
    client = LabelStudioClient(settings.label_studio) if is_there else None
    is_open = yield from _guard(
        "token", check_token(settings, client, is_needed=is_needed)
    )
    return client if is_open else None


def _open_annotator(
    settings: Settings,
    opened: contextlib.ExitStack,
    folder: Path,
    fetcher: ImageFetcher,
) -> Predictor:
    """What answers Label Studio, with a cache that is empty and thrown away.

    Raises:
        WeightsNotFound: if the model's files cannot be read.
    """
    changes: dict[str, Any] = {"redis_url": None, "cache_dir": folder}
    feedback = None
    try:
        # What was learned is part of the version that the server answers.
        feedback = settings_feedback(settings)
        opened.callback(feedback.close)
    except SettingsError:  # of which another finding tells
        changes["learning"] = False
    engine = build_engine(settings.model_copy(update=changes), feedback=feedback)
    opened.callback(engine.cache.close)
    return replace(engine.predictor, fetcher=fetcher)


def _expected_version(
    build: Callable[[], Predictor], project: Project | None
) -> str | None:
    """What a backend with these settings answers for the project's label config.

    And for what was learned of its labels. None where it would not start, of which
    other findings tell.
    """
    if project is None:
        return None
    return _version_of(build, project.label_config, str(project.id))


def _version_of(
    build: Callable[[], Predictor], label_config: str, project: str | None = None
) -> str | None:
    try:
        return build().model_version(label_config, project)
    except SegmenterError:
        return None


def _guard(subject: str, check: Check[T]) -> Check[T | None]:
    """Run one check; whatever it meets, the others get their turn."""
    try:
        return (yield from check)
    except Exception as error:
        yield problem(
            subject,
            f"this check broke down ({type(error).__name__}: {error})",
            "Report it together with the versions of Label Studio and of this backend.",
        )
        return None


def _secrets(settings: Settings) -> set[str]:
    """Everything that no finding may show."""
    secrets = {
        value.get_secret_value()
        for name, value in settings
        if isinstance(value, SecretStr) and name != "redis_url"
    }
    if settings.redis_url is not None:
        # Its host may be shown; its passwords neither as written nor as sent.
        url = settings.redis_url.get_secret_value()
        password = urlsplit(url).password or ""
        secrets |= {password, unquote(password)}
        with contextlib.suppress(SettingsError):
            client = redis_client(url, connect_timeout_s=1, read_timeout_s=1)
            secrets.update(redis_secrets(client))
    return secrets
