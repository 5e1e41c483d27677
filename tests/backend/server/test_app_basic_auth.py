"""Who is let in."""

import base64

import pytest
from flask.testing import FlaskClient

from tests.fakes import (
    MODEL_VERSION,
    ColourSegmenter,
    make_predictor,
)
from tests.serving import BODY, client_of

ENDPOINTS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("GET", "/versions"),
    ("GET", "/metrics"),
]


def login(user: str, password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


@pytest.fixture
def guarded(segmenter: ColourSegmenter) -> FlaskClient:
    return client_of(make_predictor(segmenter), basic_auth=("señor", "pass:wörd"))


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="missing"),
        pytest.param(login("señor", "wrong"), id="wrong-password"),
        pytest.param(login("other", "pass:wörd"), id="wrong-user"),
        pytest.param(login("", ""), id="empty"),
        pytest.param({"Authorization": "Basic ???"}, id="not-base64"),
        pytest.param({"Authorization": "Basic"}, id="scheme-alone"),
        pytest.param({"Authorization": "Bearer pass:wörd"}, id="bearer"),
        pytest.param({"Authorization": "Token legacy"}, id="token"),
    ],
)
def test_basic_auth_refuses_others(
    method: str, path: str, headers: dict[str, str], guarded: FlaskClient
) -> None:
    answer = guarded.open(path, method=method, json=BODY, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "BASIC_AUTH_USER" in answer.json["error"]["message"]
    assert MODEL_VERSION not in answer.text


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_basic_auth_lets_in_who_knows_the_password(
    method: str, path: str, guarded: FlaskClient
) -> None:
    answer = guarded.open(
        path, method=method, json=BODY, headers=login("señor", "pass:wörd")
    )

    assert answer.status_code == 200


def test_basic_auth_hides_which_paths_there_are(guarded: FlaskClient) -> None:
    assert guarded.get("/nothing").status_code == 401
    assert guarded.get("/webhook/").status_code == 401


def test_basic_auth_leaves_the_webhook_open(guarded: FlaskClient) -> None:
    answer = guarded.post("/webhook", json={"action": "ANNOTATION_CREATED"})

    assert answer.status_code == 200
