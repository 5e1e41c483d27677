"""The application as tests serve it, without a socket."""

from typing import Any

from flask.testing import FlaskClient

from backend.batch import Backlog
from backend.inference import Predictor
from backend.label_studio import LabelStudioConnections
from backend.page import Doctor, Page, PageGuard, Projects, State
from backend.server.app import Services, create_app
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


def never_called(timeout_s: float) -> ColourSegmenter:
    raise AssertionError("s3cret: the segmenter is not to be asked for")


def make_services(predictor: Predictor, **services: Any) -> Services:
    connections = LabelStudioConnections(LabelStudioAccess(url=None), trusts_setup=True)
    defaults: dict[str, Any] = {
        "connections": connections,
        "page": make_page(predictor, connections),
        "metrics": predictor.metrics,
        "cache_status": predictor.scorer.cache.describe,
        "model_status": lambda: "ready",
    }
    return Services(predictor=predictor, **{**defaults, **services})


def make_page(
    predictor: Predictor,
    connections: LabelStudioConnections | None = None,
    *,
    has_password: bool = False,
    is_on_loopback: bool = True,
    doctor: Doctor | None = None,
    model_status: str = "ready",
    projects: Projects | None = None,
) -> Page:
    return Page(
        predictor=predictor,
        connections=connections
        or LabelStudioConnections(LabelStudioAccess(url=None), trusts_setup=True),
        guard=PageGuard(has_password=has_password, is_on_loopback=is_on_loopback),
        state=State(
            model=(("Name", "colours"),),
            model_status=lambda: model_status,
            model_kind=lambda: "Colours on paper",
            cache=predictor.scorer.cache,
            backlog=Backlog(predictor=predictor),
            learning=None,
        ),
        projects=projects
        or Projects(
            connections=connections
            or LabelStudioConnections(LabelStudioAccess(url=None), trusts_setup=True)
        ),
        doctor=doctor,
    )


def client_of(predictor: Predictor, **services: Any) -> FlaskClient:
    return create_app(make_services(predictor, **services)).test_client()
