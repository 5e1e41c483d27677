"""The application as tests serve it, without a socket."""

from typing import Any

from flask.testing import FlaskClient

from backend.inference.predictor import PreAnnotator
from backend.label_studio.connections import ProjectAccess
from backend.server.app import Parts, create_app
from backend.types import LabelStudioAccess
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    picture,
)

SETUP = {
    "project": "1.1795346673",
    "schema": RED_AND_BLUE,
    "hostname": "http://127.0.0.1:8080",
    "access_token": "legacy",
    "extra_params": {"k": 1},
}


def predict_body(*addresses: Any, **fields: Any) -> dict[str, Any]:
    tasks = [{"id": n, "data": {"image": a}} for n, a in enumerate(addresses)]
    return {"tasks": tasks, "label_config": RED_AND_BLUE, "project": "1.2", **fields}


BODY = predict_body(picture("red", "blue"))


def never_called() -> ColourSegmenter:
    raise AssertionError("s3cret: the segmenter is not to be asked for")


def make_parts(annotator: PreAnnotator, **parts: Any) -> Parts:
    defaults: dict[str, Any] = {
        "projects": ProjectAccess(LabelStudioAccess(url=None), trusts_setup=True),
        "metrics": annotator.metrics,
        "cache_status": annotator.scorer.cache.describe,
        "model_status": lambda: "ready",
    }
    return Parts(annotator=annotator, **{**defaults, **parts})


def client_of(annotator: PreAnnotator, **parts: Any) -> FlaskClient:
    return create_app(make_parts(annotator, **parts)).test_client()
