"""HTTP in, HTTP out: routes and status codes, nothing else.

Label Studio's protocol as observed against 1.23.2. What goes wrong becomes a
status and `{"error": {"type", "message"}}`; tracebacks go to the log, never to the
caller.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import (
    HTTPException,
    RequestEntityTooLarge,
    ServiceUnavailable,
)

from backend.batch import Backlog
from backend.errors import BadRequest
from backend.feedback import FeedbackLoop
from backend.inference import Metrics, Predictor
from backend.label_studio import (
    LabelStudioConnections,
    parse_new_tasks,
    parse_predict,
    parse_setup,
)
from backend.page import Page
from backend.server.guards import (
    basic_auth_check,
    refuse_web_pages,
    webhook_secret_check,
)
from backend.server.limits import RequestLimits
from backend.server.secret_path import serve_below
from backend.server.turns import Turns
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

_MOST_VERSIONS: Final = 100
# Label Studio waits 3 s for the answer to `/setup`, and sends it before each prediction
# that it asks for.
_SETUPS_AT_ONCE: Final = 4
_SETUPS_IN_LINE: Final = 32
_SETUP_PATIENCE_S: Final = 2.0


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
        feedback: learns from corrections, None where nothing is to be learned.
        limits: of each request.
        webhook_secret: what `/webhook` asks for, or None.
        page: what browsers are shown; None answers them as everybody.
    """

    predictor: Predictor
    connections: LabelStudioConnections
    metrics: Metrics
    cache_status: Callable[[], str]
    model_status: Callable[[], str]
    basic_auth: tuple[str, str] | None = None
    backlog: Backlog | None = None
    feedback: FeedbackLoop | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    webhook_secret: str | None = None
    page: Page | None = None


def create_app(services: Services) -> Flask:
    """Build the Flask application; nothing is loaded or reached for here."""
    app = Flask(__name__)
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    limits = services.limits
    app.register_error_handler(Exception, _answer_error)
    app.before_request(refuse_web_pages)
    if services.basic_auth is not None:
        app.before_request(basic_auth_check(*services.basic_auth))
    if services.webhook_secret is not None:
        serve_below(app, services.webhook_secret)
        app.before_request(webhook_secret_check(services.webhook_secret))
    setups = Turns(
        at_once=_SETUPS_AT_ONCE, in_line=_SETUPS_IN_LINE, patience_s=_SETUP_PATIENCE_S
    )
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

    page = services.page
    if page is not None:
        app.register_blueprint(
            page.blueprint(
                read_json=lambda: _json_body(limits), read_body=lambda: _body(limits)
            )
        )

    @app.get("/")
    def index() -> Response:
        wants_page = request.accept_mimetypes.best_match(
            ["application/json", "text/html"]
        )
        if wants_page == "text/html" and page is not None:
            return page.index()
        return jsonify(status())

    @app.get("/health")
    def health() -> Response:
        return jsonify(status())

    @app.post("/setup")
    def setup() -> Response:
        told = parse_setup(_json_body(limits))
        services.connections.register(told)
        with setups.turn():
            version = services.predictor.setup_version(told.label_config, told.project)
        if version not in versions_told:
            versions_told.append(version)
        return jsonify({"model_version": version})

    @app.post("/predict")
    def predict() -> Response:
        started = time.monotonic()
        body = _json_body(limits)
        limits.check_tasks(body)
        asked = parse_predict(body)
        # The annotations that Label Studio sends along; a click has read its own.
        del body
        answers = services.predictor.predict(
            asked, services.connections.get(asked.project)
        )
        if services.feedback is not None:
            services.feedback.note_answers(asked, answers)
        seconds = time.monotonic() - started
        services.metrics.predict_seconds.observe(seconds)
        logger.info(
            "Answered project %s in %.2f s: %d tasks, of which %d have no prediction.",
            asked.project,
            seconds,
            len(answers),
            sum(not answer for answer in answers),
        )
        with services.metrics.stage("answer"):
            return _answer({"results": answers})

    @app.post("/webhook")
    def webhook() -> Response:
        # Label Studio waits a second at most, inside its user's own request.
        backlog, feedback = services.backlog, services.feedback
        if backlog is None and feedback is None:
            return jsonify({"status": "ignored"})
        # A large annotation is half a million numbers, and Label Studio waits; nothing
        # of a webhook is given back, so that it may be read in the quick way.
        body = _json_body(limits, read=_read_quickly)
        if feedback is not None and feedback.accept(body):
            return jsonify({"status": "accepted"})
        new = parse_new_tasks(body)
        if backlog is None or new is None:
            return jsonify({"status": "ignored"})
        backlog.pre_annotate(new.project_id, new.task_ids)
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


def _answer(body: dict[str, Any]) -> Response:
    """As `jsonify`, in a tenth of its time where there are run lengths."""
    try:
        text = orjson.dumps(
            body, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        )
    # What only the standard library writes: numbers of more than 64 bits, for one,
    # which a person's region may have.
    except orjson.JSONEncodeError:
        return jsonify(body)
    return Response(text, mimetype="application/json")


def _read_quickly(data: bytes) -> Any:
    """As `json.loads`, in a quarter of its time; of long numbers only their size."""
    try:
        return orjson.loads(data)
    # NaN, for one, which Python's own servers write.
    except orjson.JSONDecodeError:
        return json.loads(data)


def _json_body(limits: RequestLimits, read: Callable[[bytes], Any] = json.loads) -> Any:
    """What the request says, within its limits.

    Args:
        limits: of the request.
        read: makes an object of the body.

    Raises:
        RequestEntityTooLarge: if it has more bytes; none of them is kept.
        BadRequest: if it did not arrive whole, is no JSON, or is too much of it.
    """
    data = _body(limits)
    limits.check_content(data, request.path)
    try:
        body = read(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"The body of {request.path} is not JSON ({len(data)} bytes); send a JSON "
            f"object."
        ) from error
    limits.check_config(body)
    return body


def _body(limits: RequestLimits) -> bytes:
    n_bytes = request.content_length
    # One more of a body that does not tell its length: of too many, none are missed.
    request.max_content_length = limits.max_bytes + (n_bytes is None)
    try:
        data = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise limits.too_large(n_bytes, request.path) from error
    # The border to the server's reader: a connection that was reset, a chunk that is
    # none, a body that ends early.
    except Exception as error:
        raise BadRequest(
            f"The body of {request.path} did not arrive whole "
            f"({type(error).__name__}). Send it again."
        ) from error
    if len(data) > limits.max_bytes:
        raise limits.too_large(None, request.path)
    return data


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
        if status in {413, 503}:
            logger.warning("%s refused: %s", request.path, message)
    else:
        status = 500
        message = "The backend failed on this request; its log has the traceback."
        logger.error("%s failed.", request.path, exc_info=error)
    answer = jsonify({"error": {"type": type(error).__name__, "message": message}})
    if isinstance(error, ServiceUnavailable) and error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer, status
