"""The application out of settings, and how gunicorn is to run it."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask

from backend.batch import (
    Backlog,
    ChunkRunner,
    JobQueue,
    RunRecords,
    queue_connection,
)
from backend.engine import MAX_PENDING_REQUESTS, Engine, build_engine, configure_logging
from backend.errors import SettingsError
from backend.feedback import FeedbackLoop
from backend.inference import Segmenter
from backend.label_studio import LabelStudioClient, LabelStudioConnections
from backend.page import Doctor, Page, PageGuard, Projects, State
from backend.server.app import Services, create_app
from backend.server.background import Background
from backend.server.limits import RequestLimits
from backend.server.waiting import Waiting
from backend.settings import Settings
from segmenter import ModelSource, find_terms

_THREADS_FOR_HEALTH = 4
# Connections that send their request, or rest, beside those that threads are at.
_CONNECTIONS_BESIDE = 256
# For work behind the requests to come to an end.
_STOPPING_S = 30


def server_options(settings: Settings) -> dict[str, Any]:
    """Gunicorn's configuration: one process, threads.

    One process holds one copy of the weights; threads keep `/health` quick while a
    prediction runs. The application is built in the worker, after the fork: CUDA
    does not survive one.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    threads = settings.threads + MAX_PENDING_REQUESTS + _THREADS_FOR_HEALTH
    return {
        "bind": f"{host}:{settings.port}",
        "workers": 1,
        "worker_class": "backend.server.worker.PatientWorker",
        # Started when they are needed. Label Studio takes a backend for dead whose
        # `/health` is not answered within a second, whatever it is busy with.
        "threads": threads,
        # Each is an open file, of which containers may have 1,024.
        "worker_connections": threads + _CONNECTIONS_BESIDE,
        "preload_app": False,
        # Label Studio gives a prediction up after 100 s; a worker is not killed
        # before.
        "timeout": max(120, round(settings.predict_budget_s) + 60),
        # A request that is being answered when the server is stopped gets its answer.
        "graceful_timeout": round(1.1 * settings.predict_budget_s) + _STOPPING_S,
        # A control socket in the home folder that nobody here uses.
        "control_socket_disable": True,
    }


def build_backlog(settings: Settings, engine: Engine) -> Backlog:
    """What is done behind the requests; nothing is reached for yet."""
    queue = work = None
    if settings.redis_url is not None:
        # On a cluster there are no workers; the cache is there all the same.
        with contextlib.suppress(SettingsError):
            connection = queue_connection(settings.redis_url.get_secret_value())
            queue = JobQueue(connection, engine.predictor.queue_name)
    if settings.preannotate_new_tasks:
        work = ChunkRunner(
            predictor=engine.predictor,
            client=LabelStudioClient(settings.label_studio),
        )
    return Backlog(predictor=engine.predictor, queue=queue, work=work)


def build_feedback(
    engine: Engine, connections: LabelStudioConnections, backlog: Backlog
) -> FeedbackLoop | None:
    """What learns behind the requests; nothing is reached for yet."""
    if engine.feedback is None or engine.teacher is None:
        return None
    return FeedbackLoop.build(
        store=engine.feedback,
        teacher=engine.teacher,
        predictor=engine.predictor,
        cache=engine.cache,
        access_of=lambda event: connections.get(event.project_key),
        has_others=backlog.has_workers,
    )


def build_page(
    settings: Settings,
    engine: Engine,
    *,
    connections: LabelStudioConnections,
    backlog: Backlog,
    doctor: Doctor | None = None,
) -> Page | None:
    """What browsers are shown; None where nothing is."""
    if not settings.page:
        return None
    return Page(
        predictor=engine.predictor,
        connections=connections,
        guard=PageGuard(
            has_password=settings.basic_auth_user is not None,
            is_on_loopback=settings.is_on_loopback,
        ),
        state=State(
            model=(
                ("Name", settings.model),
                ("Licence", str(find_terms(ModelSource.parse(settings.model)))),
                ("Mode", settings.mode),
                ("Device", f"DEVICE={settings.device}, DTYPE={settings.dtype}"),
                ("Version of predictions", engine.predictor.model_version("")),
            ),
            model_status=lambda: engine.segmenter.status,
            model_kind=lambda: engine.segmenter.kind,
            cache=engine.cache,
            backlog=backlog,
            learning=None if engine.feedback is None else engine.feedback.describe(),
        ),
        projects=Projects(
            connections=connections,
            corrections=engine.feedback,
            runs=_run_records(settings),
        ),
        doctor=doctor,
    )


def _run_records(settings: Settings) -> RunRecords | None:
    """Runs of workers; None where there can be none."""
    if settings.redis_url is None:
        return None
    try:
        return RunRecords(queue_connection(settings.redis_url.get_secret_value()))
    except SettingsError:  # a cluster
        return None


def build_app(
    settings: Settings,
    *,
    preload: bool = True,
    load: Callable[[], Segmenter] | None = None,
    doctor: Doctor | None = None,
) -> Flask:
    """Put the application together.

    Args:
        settings: of the operator.
        preload: start loading the model at once, in the background.
        load: gives another model than the settings name.
        doctor: what the page's button asks; None shows none.

    Raises:
        WeightsNotFound: if the model's name cannot be one.
        SettingsError: if REDIS_URL cannot be one.
    """
    engine = build_engine(settings, load=load)
    password = settings.basic_auth_pass
    backlog = build_backlog(settings, engine)
    backlog.start()
    connections = LabelStudioConnections(
        settings.label_studio, trusts_setup=settings.trusts_setup
    )
    feedback = build_feedback(engine, connections, backlog)
    if feedback is not None:
        feedback.start()
    secret = settings.webhook_secret
    engine.metrics.watch_waiting(Waiting(engine=engine, backlog=backlog))
    limits = RequestLimits(
        max_bytes=settings.request_max_bytes,
        max_tasks=settings.request_max_tasks,
        timeout_s=settings.request_timeout_s,
    )
    app = create_app(
        Services(
            predictor=replace(engine.predictor, on_timeout=backlog.precompute),
            backlog=backlog if settings.preannotate_new_tasks else None,
            connections=connections,
            feedback=feedback,
            metrics=engine.metrics,
            cache_status=engine.cache.describe,
            model_status=lambda: engine.segmenter.status,
            basic_auth=(settings.basic_auth_user, password.get_secret_value())
            if settings.basic_auth_user and password
            else None,
            limits=limits,
            webhook_secret=secret.get_secret_value() if secret else None,
            page=build_page(
                settings,
                engine,
                connections=connections,
                backlog=backlog,
                doctor=doctor,
            ),
        )
    )
    Background(limits=limits, backlog=backlog, engine=engine, feedback=feedback).attach(
        app
    )
    if preload:
        engine.segmenter.load_in_background()
    return app


def app_from_environment() -> Flask:
    """The application for any WSGI server.

    Such as `gunicorn "backend.server:app_from_environment()"`.
    """
    settings = Settings.from_env()
    configure_logging(settings.log_level)
    return build_app(settings)
