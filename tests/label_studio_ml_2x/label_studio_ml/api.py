"""The two routes that make models, one per request.

The original turns every exception into a 500 with a traceback; here it is raised.
"""

from typing import Any

from flask import Flask, Response, jsonify, request

from .model import LabelStudioMLBase

_server = Flask(__name__)
_server.testing = True
MODEL_CLASS = LabelStudioMLBase


def init_app(model_class: type[LabelStudioMLBase]) -> Flask:
    global MODEL_CLASS
    MODEL_CLASS = model_class
    return _server


@_server.post("/predict")
def _predict() -> Response:
    data = request.json
    project = str(data.get("project"))
    params = data.get("params", {})
    # Takes it out of the body that `flask.request` keeps.
    context = params.pop("context", {})
    model = MODEL_CLASS(
        project_id=project.split(".", 1)[0], label_config=data.get("label_config")
    )
    response: Any = model.predict(data.get("tasks"), context=context, **params)
    if response is None:
        response = []
    if isinstance(response, dict):
        response = response.get("predictions", response)
    return jsonify({"results": response})


TRAIN_EVENTS = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATION_DELETED",
    "START_TRAINING",
)


@_server.post("/webhook")
def _webhook() -> tuple[Response, int]:
    data = request.json
    event = data.pop("action")
    if event not in TRAIN_EVENTS:
        return jsonify({"status": "Unknown event"}), 200
    model = MODEL_CLASS(
        project_id=str(data["project"]["id"]),
        label_config=data["project"]["label_config"],
    )
    result = model.fit(event, data)
    return jsonify({"result": result, "status": "ok"}), 201


@_server.post("/setup")
def _setup() -> Response:
    data = request.json
    model = MODEL_CLASS(
        project_id=data.get("project").split(".", 1)[0],
        label_config=data.get("schema"),
    )
    if extra_params := data.get("extra_params"):
        model.set_extra_params(extra_params)
    return jsonify({"model_version": model.get("model_version")})
