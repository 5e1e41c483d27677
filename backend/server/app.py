"""HTTP in, HTTP out: routes and status codes, nothing else.

Label Studio's protocol as observed against 1.23.2. What goes wrong becomes a
status and `{"error": {"type", "message"}}`; tracebacks go to the log, never to the
caller.
"""

import hmac
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import BadRequest as NotJson
from werkzeug.exceptions import HTTPException

from backend.batch import Backlog
from backend.errors import BadRequest
from backend.inference import EXAMPLE, Metrics, Predictor
from backend.label_studio import (
    LabelStudioConnections,
    parse_new_tasks,
    parse_predict,
    parse_setup,
)
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

_MOST_VERSIONS: Final = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Services:
    """What the routes need, made by the composition root.

    Attributes:
        predictor: answers `/predict`.
        connections: remembers `/setup`.
        metrics: rendered at `/metrics`.
        cache_status: describes the cache, for `/health`.
        backlog: told of new tasks, None where they are left alone.
        model_status: "loading", "ready" or why loading failed.
        basic_auth: user and password that callers must send, or None.
    """

    predictor: Predictor
    connections: LabelStudioConnections
    metrics: Metrics
    cache_status: Callable[[], str]
    model_status: Callable[[], str]
    basic_auth: tuple[str, str] | None = None
    backlog: Backlog | None = None


def create_app(services: Services) -> Flask:
    """Build the Flask application; nothing is loaded or reached for here."""
    app = Flask(__name__)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.register_error_handler(Exception, _answer_error)
    app.before_request(_refuse_web_pages)
    if services.basic_auth is not None:
        app.before_request(_basic_auth_check(*services.basic_auth))
    no_config = services.predictor.model_version("")
    # What `/setup` answered lately, for `/versions`, which names no project.
    versions_told: deque[str] = deque(maxlen=_MOST_VERSIONS)

    def status() -> dict[str, str]:
        return {
            "status": "UP",
            "model_version": no_config,
            "model": services.model_status(),
            "cache": services.cache_status(),
        }

    @app.get("/")
    def index() -> Any:
        wants_page = request.accept_mimetypes.best_match(
            ["application/json", "text/html"]
        )
        if wants_page == "text/html":
            return render_template("index.html", example=EXAMPLE, **status())
        return jsonify(status())

    @app.get("/health")
    def health() -> Response:
        return jsonify(status())

    @app.post("/setup")
    def setup() -> Response:
        told = parse_setup(_json_body())
        services.connections.register(told)
        version = services.predictor.setup_version(told.label_config, told.project)
        if version not in versions_told:
            versions_told.append(version)
        return jsonify({"model_version": version})

    @app.post("/predict")
    def predict() -> Response:
        started = time.monotonic()
        asked = parse_predict(_json_body())
        answers = services.predictor.predict(
            asked, services.connections.get(asked.project)
        )
        seconds = time.monotonic() - started
        services.metrics.predict_seconds.observe(seconds)
        logger.info(
            "Answered project %s in %.2f s: %d tasks, of which %d have no prediction.",
            asked.project,
            seconds,
            len(answers),
            sum(not answer for answer in answers),
        )
        return jsonify({"results": answers})

    @app.post("/webhook")
    def webhook() -> Response:
        # Label Studio waits a second at most, inside its user's own request.
        new = parse_new_tasks(_json_body()) if services.backlog else None
        if services.backlog is None or new is None:
            return jsonify({"status": "ignored"})
        services.backlog.pre_annotate(new.project_id, new.task_ids)
        return jsonify({"status": "accepted"})

    @app.get("/versions")
    def versions() -> Response:
        return jsonify({"versions": list(versions_told) or [no_config]})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(
            services.metrics.render(),
            mimetype="text/plain; version=0.0.4; charset=utf-8",
        )

    return app


def _json_body() -> Any:
    try:
        return request.get_json(force=True)
    except (NotJson, RecursionError) as error:
        raise BadRequest(
            f"The body of {request.path} is not JSON ({request.content_length or 0} "
            f"bytes); send a JSON object."
        ) from error


def _answer_error(error: Exception) -> tuple[Response, int]:
    """The HTTP door: every exception becomes an answer here."""
    if isinstance(error, BadRequest):
        status, message = 400, str(error)
        logger.warning("%s refused: %s", request.path, message)
    elif isinstance(error, SegmenterError):
        status, message = 503, str(error)
        logger.error("%s cannot be answered: %s", request.path, message)
    elif isinstance(error, HTTPException):
        status, message = error.code or 500, error.description or error.name
    else:
        status = 500
        message = "The backend failed on this request; its log has the traceback."
        logger.error("%s failed.", request.path, exc_info=error)
    return jsonify(
        {"error": {"type": type(error).__name__, "message": message}}
    ), status


def _refuse_web_pages() -> tuple[Response, int] | None:
    """Refuse what a web page sends from the browser of somebody on this machine.

    Servers, Label Studio among them, name no origin. A browser does with every POST,
    which it sends to loopback addresses too, for any page of the internet.
    """
    if request.method != "POST" or "Origin" not in request.headers:
        return None
    message = "Web pages may not send requests here; Label Studio's server does."
    return jsonify({"error": {"type": "Forbidden", "message": message}}), 403


def _basic_auth_check(user: str, password: str) -> Callable[[], Response | None]:
    """Refuse callers without the credentials, but for Label Studio's webhooks.

    Label Studio sends them with everything except annotation events.
    """

    def check() -> Response | None:
        if request.path == "/webhook":
            return None
        given = request.authorization
        is_known = (
            given is not None
            and given.type == "basic"
            and _same(given.username, user)
            and _same(given.password, password)
        )
        if is_known:
            return None
        refusal = jsonify(
            {
                "error": {
                    "type": "Unauthorized",
                    "message": "Wrong or missing user and password; enter "
                    "BASIC_AUTH_USER and BASIC_AUTH_PASS where the backend is "
                    "connected in Label Studio.",
                }
            }
        )
        refusal.status_code = 401
        refusal.headers["WWW-Authenticate"] = 'Basic realm="diffsegmenter"'
        return refusal

    return check


def _same(given: str | None, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest((given or "").encode(), expected.encode())
