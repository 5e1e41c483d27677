"""Routes of the playground: pictures, masks and clicks as its script asks for them."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from backend.page.bodies import (
    attributes_in,
    box_in,
    number_in,
    points_in,
    text_in,
)
from backend.page.config import config_of_labels
from backend.page.guard import PageGuard
from backend.page.images import jpeg, relevance_png
from backend.page.playground import Playground
from backend.page.scenes import Picture
from backend.page.tasks import TaskReader
from backend.types import ImageFile, LabelStudioAccess


def add_picture_routes(
    routes: Blueprint,
    playground: Playground,
    tasks: TaskReader,
    *,
    guard: PageGuard,
    read_json: Callable[[], Any],
    read_body: Callable[[], bytes],
) -> None:
    """Choose a picture: a file, an address or a task; and look at it."""

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
        guard.check_trusted()
        file = tasks.read_address(text_in(read_json(), "address"))
        return jsonify(playground.add(Picture(file=file)))

    @routes.post("/tasks")
    def task() -> Response:
        guard.check_trusted()
        body = read_json()
        project = number_in(body, "project")
        file, task, config = tasks.read(project, number_in(body, "task"))
        picture = Picture(file=file, data=task.data, project=str(project))
        return jsonify(playground.add(picture) | {"label_config": config})

    @routes.get("/pictures/<name>")
    def picture(name: str) -> Response:
        image = playground.decode(playground.pictures.get(name))
        try:
            return Response(jpeg(image.pixels), mimetype="image/jpeg")
        finally:
            image.release()


def add_scene_routes(
    routes: Blueprint, playground: Playground, *, read_json: Callable[[], Any]
) -> None:
    """Draw masks, mend them, and show what is behind them."""

    def read_object() -> Mapping[str, Any]:
        body = read_json()
        return body if isinstance(body, dict) else {}

    @routes.post("/masks")
    def masks() -> Response:
        body = read_object()
        config = body.get("label_config")
        if not isinstance(config, str) or not config.strip():
            config = config_of_labels(text_in(body, "labels"))
        return jsonify(
            playground.draw(body.get("picture"), config, attributes_in(body))
        )

    @routes.post("/clicks")
    def clicks() -> Response:
        body = read_object()
        return jsonify(
            playground.click(
                body.get("scene"),
                control=text_in(body, "control"),
                label=text_in(body, "label"),
                points=points_in(body),
                box=box_in(body),
            )
        )

    @routes.get("/scenes/<name>/<int:control>/<int:label>.png")
    def relevance(name: str, control: int, label: int) -> Response:
        controls = playground.scenes.get(name).controls
        if control >= len(controls) or label >= len(controls[control][1].labels):
            raise NotFound("There is no such label.")
        scores = controls[control][1].maps[label]
        return Response(relevance_png(scores), mimetype="image/png")
