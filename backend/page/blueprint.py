"""The page: its HTML, and all routes below `page/`.

All addresses in answers are relative, so that a path before them, of a proxy or of
`WEBHOOK_SECRET`, is kept.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, jsonify, render_template, request
from werkzeug.exceptions import NotFound, ServiceUnavailable

from backend.errors import BackendError, BadRequest, ImageError, LabelStudioError
from backend.inference import Predictor
from backend.label_studio import LabelStudioConnections, ScoredTask
from backend.page.bodies import number_in
from backend.page.guard import PageGuard, shield
from backend.page.images import jpeg
from backend.page.playground import Playground
from backend.page.playground_routes import add_picture_routes, add_scene_routes
from backend.page.project import CHART_HEIGHT, CHART_WIDTH, Projects
from backend.page.scenes import Picture
from backend.page.state import Doctor, Finding, State, recent_failures
from backend.page.tasks import TaskReader

logger = logging.getLogger(__name__)

_WORST_SHOWN: Final = 12
_THUMBNAIL_PX: Final = 320


class Page:
    """What people look at in a browser."""

    def __init__(
        self,
        *,
        predictor: Predictor,
        connections: LabelStudioConnections,
        guard: PageGuard,
        state: State,
        projects: Projects,
        doctor: Doctor | None = None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            predictor: draws.
            connections: how to reach Label Studio.
            guard: looks at who asks.
            state: of the backend.
            projects: what is known of them.
            doctor: looks at the whole installation; None where there is none.
        """
        self._guard = guard
        self._state = state
        self._projects = projects
        self._doctor = doctor
        self._examining = threading.Lock()
        self._failures = recent_failures()
        self._playground = Playground(predictor)
        self._tasks = TaskReader(predictor=predictor, connections=connections)

    def index(self) -> Response:
        """The playground, at the address of the backend."""
        return shield(
            self._render("playground.html", root="", projects=self._known_projects())
        )

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
        add_picture_routes(
            routes,
            self._playground,
            self._tasks,
            guard=self._guard,
            read_json=read_json,
            read_body=read_body,
        )
        add_scene_routes(routes, self._playground, read_json=read_json)
        self._add_project(routes)
        self._add_state(routes, read_json)
        return routes

    def _add_project(self, routes: Blueprint) -> None:
        @routes.get("/project")
        def project() -> Response:
            number = request.args.get("project", type=int) or 0
            shown: dict[str, Any] = {"project": number if number > 0 else None}
            if self._guard.is_trusted and number > 0:
                worst = self._worst(number)
                shown |= {
                    "run": self._projects.run(number),
                    "lessons": self._projects.lessons(number),
                    "worst": worst,
                    "label_studio": ""
                    if isinstance(worst, str)
                    else self._tasks.url_for_people(number),
                }
            return self._render(
                "project.html",
                root="../",
                projects=self._known_projects(),
                chart_width=CHART_WIDTH,
                chart_height=CHART_HEIGHT,
                **shown,
            )

        @routes.get("/thumbnails/<int:project>/<int:task>")
        def thumbnail(project: int, task: int) -> Response:
            self._guard.check_trusted()
            file, _, _ = self._tasks.read(project, task)
            image = self._playground.decode(Picture(file=file))
            try:
                small = jpeg(image.pixels, longest_px=_THUMBNAIL_PX)
            finally:
                image.release()
            return Response(small, mimetype="image/jpeg")

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
            project = number_in(body, "project") if has_project else None
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

    def _worst(self, project: int) -> list[ScoredTask] | str:
        """Tasks with the lowest scores, or why none are shown."""
        try:
            found = self._tasks.worst(project, most=_WORST_SHOWN)
        except (BadRequest, LabelStudioError) as error:
            return str(error)
        return found or (
            "The Data Manager shows no scores. `diffsegmenter preannotate` has it show "
            "them; or choose the backend under Settings > Annotation."
        )

    def _known_projects(self) -> list[int]:
        return self._projects.known() if self._guard.is_trusted else []

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
