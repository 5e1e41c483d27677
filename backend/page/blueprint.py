"""The page's routes: HTML for people, JSON and pictures for its script.

All addresses in answers are relative, so that a path before them, of a proxy or of
`WEBHOOK_SECRET`, is kept.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Blueprint, Response, jsonify, render_template, request
from werkzeug.exceptions import NotFound, ServiceUnavailable

from backend.errors import BackendError, BadRequest, ImageError, LabelStudioError
from backend.inference import EXAMPLE, Predictor
from backend.label_studio import (
    LabelStudioClient,
    LabelStudioConnections,
    PointPrompt,
    ProjectTasks,
)
from backend.page.config import config_of_labels
from backend.page.guard import PageGuard, shield
from backend.page.images import jpeg, relevance_png
from backend.page.playground import Playground
from backend.page.scenes import Picture
from backend.page.state import Doctor, Finding, State, recent_failures
from backend.types import ImageFile, LabelStudioAccess

logger = logging.getLogger(__name__)

# Of one object: more than a person makes.
_MOST_CLICKS: Final = 100
_BOX: Final = ("x", "y", "width", "height")
_TASK_RETRIES_S: Final = 0.0


class Page:
    """What people look at in a browser."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        connections: LabelStudioConnections,
        guard: PageGuard,
        state: State,
        doctor: Doctor | None = None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            predictor: draws.
            connections: how to reach Label Studio.
            guard: looks at who asks.
            state: of the backend.
            doctor: looks at the whole installation; None where there is none.
        """
        self._predictor = predictor
        self._connections = connections
        self._guard = guard
        self._state = state
        self._doctor = doctor
        self._examining = threading.Lock()
        self._failures = recent_failures()
        self._playground = Playground(predictor)

    def index(self) -> Response:
        """The playground, at the address of the backend."""
        return shield(self._render("playground.html", root="", example=EXAMPLE))

    def blueprint(
        self, *, read_json: Callable[[], Any], read_body: Callable[[], bytes]
    ) -> Blueprint:
        """All routes below `page/`.

        Args:
            read_json: the object that the request brings, within its limits.
            read_body: the bytes that it brings, within their limit.
        """
        routes = Blueprint(
            "page",
            __name__,
            url_prefix="/page",
            template_folder="templates",
            static_folder="static",
            static_url_path="/static",
        )
        routes.before_request(self._guard.check_post)
        routes.after_request(shield)
        routes.register_error_handler(BackendError, _refused)
        self._add_pictures(routes, read_json, read_body)
        self._add_scenes(routes, read_json)
        self._add_state(routes, read_json)
        return routes

    def _add_pictures(
        self,
        routes: Blueprint,
        read_json: Callable[[], Any],
        read_body: Callable[[], bytes],
    ) -> None:
        playground = self._playground

        @routes.post("/pictures")
        def upload() -> Response:
            data = read_body()
            file = ImageFile(
                data=data,
                digest=hashlib.sha256(data).hexdigest(),
                address="the chosen file",
                access=LabelStudioAccess(url=None),
            )
            return jsonify(playground.add(Picture(file=file)))

        @routes.post("/addresses")
        def address() -> Response:
            self._guard.check_trusted()
            wanted = _text(read_json(), "address")
            file = self._predictor.fetcher.read(
                wanted, access=self._connections.get(None)
            )
            return jsonify(playground.add(Picture(file=file)))

        @routes.post("/tasks")
        def task() -> Response:
            self._guard.check_trusted()
            body = read_json()
            return jsonify(
                self._open_task(_number(body, "project"), _number(body, "task"))
            )

        @routes.get("/pictures/<name>")
        def picture(name: str) -> Response:
            image = playground.decode(playground.pictures.get(name))
            try:
                return Response(jpeg(image.pixels), mimetype="image/jpeg")
            finally:
                image.release()

    def _add_scenes(self, routes: Blueprint, read_json: Callable[[], Any]) -> None:
        playground = self._playground

        @routes.post("/masks")
        def masks() -> Response:
            body = read_json()
            config = body.get("label_config") if isinstance(body, dict) else None
            if not isinstance(config, str) or not config.strip():
                config = config_of_labels(_text(body, "labels"))
            return jsonify(
                playground.draw(body.get("picture"), config, _attributes(body))
            )

        @routes.post("/clicks")
        def clicks() -> Response:
            body = read_json()
            return jsonify(
                playground.click(
                    body.get("scene") if isinstance(body, dict) else None,
                    control=_text(body, "control"),
                    label=_text(body, "label"),
                    points=_points(body),
                    box=_box(body),
                )
            )

        @routes.get("/scenes/<name>/<int:control>/<int:label>.png")
        def relevance(name: str, control: int, label: int) -> Response:
            controls = playground.scenes.get(name).controls
            if control >= len(controls) or label >= len(controls[control][1].labels):
                raise NotFound("There is no such label.")
            scores = controls[control][1].maps[label]
            return Response(relevance_png(scores), mimetype="image/png")

    def _add_state(self, routes: Blueprint, read_json: Callable[[], Any]) -> None:
        @routes.get("/state")
        def state() -> Response:
            return self._render(
                "state.html",
                root="../",
                state=self._state.facts(),
                has_doctor=self._doctor is not None,
                failures=self._failures.latest_first(),
            )

        @routes.post("/doctor")
        def doctor() -> Response:
            self._guard.check_trusted()
            body = read_json()
            has_project = isinstance(body, dict) and body.get("project") is not None
            project = _number(body, "project") if has_project else None
            if self._doctor is None:
                raise NotFound("This server was started without a doctor.")
            # It asks this backend for its model; else it would load a second one.
            if self._state.model_status() == "loading":
                raise ServiceUnavailable("The model is still loading. Ask again soon.")
            if not self._examining.acquire(blocking=False):
                raise ServiceUnavailable("Somebody has it looked at just now.")
            try:
                found = [_finding(one) for one in self._doctor(project)]
            finally:
                self._examining.release()
            return jsonify({"findings": found})

    def _open_task(self, project: int, task_id: int) -> dict[str, Any]:
        """Read a task's first picture; its project's label config comes along."""
        access = self._label_studio()
        tasks = ProjectTasks(
            LabelStudioClient(access), project, retry_for_s=_TASK_RETRIES_S
        )
        config = tasks.info().label_config
        found = tasks.fetch([task_id])
        if not found:
            raise BadRequest(f"Project {project} has no task {task_id}.")
        address = self._playground.first_address(found[0].data, config)
        file = self._predictor.fetcher.read(address, access=access, task_id=task_id)
        told = self._playground.add(
            Picture(file=file, data=found[0].data, project=str(project))
        )
        return told | {"label_config": config}

    def _label_studio(self) -> LabelStudioAccess:
        """The operator's; no other is asked for what no request brings."""
        access = self._connections.get(None)
        if not access.from_environment or access.token is None:
            raise BadRequest(
                "Tasks are read from the Label Studio of the environment. Set "
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, and start again."
            )
        return access

    def _render(self, template: str, *, root: str, **values: Any) -> Response:
        text = render_template(
            f"page/{template}",
            root=root,
            token=self._guard.new_token(),
            is_trusted=self._guard.is_trusted,
            **values,
        )
        return Response(text, mimetype="text/html")


def _refused(error: BackendError) -> tuple[Response, int]:
    """What is said of a picture, or of Label Studio, to whoever chose it."""
    is_elsewhere = isinstance(error, LabelStudioError)
    status = 502 if is_elsewhere else 422 if isinstance(error, ImageError) else 400
    logger.warning("%s refused: %s", request.path, error)
    answer = {"error": {"type": type(error).__name__, "message": str(error)}}
    return jsonify(answer), status


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "subject": finding.subject,
        "seen": finding.seen,
        "remedy": finding.remedy,
        "details": list(finding.details),
    }


def _attributes(body: Mapping[str, Any]) -> dict[str, str]:
    """Attributes of controls that the sliders write; the label config's reader judges.

    Raises:
        BadRequest: if one is neither a number nor a word.
    """
    found = {}
    for name in ("threshold", "presence_threshold", "boundaries"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadRequest(f"{name} is a {type(value).__name__}; send a number.")
        shown = value if isinstance(value, str) else f"{value:g}"
        attribute = "score_threshold" if name == "threshold" else name
        found[f"model_{attribute}"] = shown
    return found


def _points(body: Any) -> list[PointPrompt]:
    points = body.get("points", [])
    if not isinstance(points, list) or len(points) > _MOST_CLICKS:
        raise BadRequest(f"points are a list of at most {_MOST_CLICKS} clicks.")
    return [
        PointPrompt(
            x_percent=_percent(point, "x"),
            y_percent=_percent(point, "y"),
            is_positive=point.get("is_positive") is not False,
        )
        for point in points
    ]


def _box(body: Any) -> dict[str, float] | None:
    box = body.get("box")
    if box is None:
        return None
    return {name: _percent(box, name) for name in _BOX} | {"rotation": 0.0}


def _percent(holder: Any, name: str) -> float:
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name} is missing; send a percentage from 0 to 100.")
    if not 0 <= value <= 100:
        raise BadRequest(f"{name} is {value}; send a percentage from 0 to 100.")
    return float(value)


def _text(body: Any, name: str) -> str:
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing; send a text.")
    return value


def _number(body: Any, name: str) -> int:
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequest(f"{name} is {value!r}; send a number of Label Studio's.")
    return value
