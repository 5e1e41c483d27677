"""Who may use the page, and what its answers tell a browser."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fakes import ColourSegmenter, make_predictor, picture
from tests.serving import client_of, make_page

_HOST = "http://localhost"


def token_of(client: FlaskClient, **options: Any) -> str:
    page = client.get("/", headers={"Accept": "text/html"}, **options).text
    found = re.search(r'name="page-token" content="([^"]+)"', page)
    assert found
    return found[1]


def served(**guard: bool) -> FlaskClient:
    predictor = make_predictor(ColourSegmenter())
    return client_of(predictor, page=make_page(predictor, **guard))


@pytest.mark.parametrize("path", ["masks", "pictures", "clicks", "addresses", "tasks"])
@pytest.mark.parametrize(
    ("origin", "has_token"),
    [
        pytest.param("https://evil.org", True, id="another-origin"),
        pytest.param("null", True, id="no-origin-to-name"),
        pytest.param("http://localhost:1234", True, id="another-port"),
        pytest.param(_HOST, False, id="no-token"),
        pytest.param(None, False, id="no-browser"),
    ],
)
def test_post_is_refused_without_token_or_from_elsewhere(
    path: str, origin: str | None, has_token: bool, client: FlaskClient
) -> None:
    headers = {"X-Page-Token": token_of(client)} if has_token else {}
    if origin is not None:
        headers["Origin"] = origin

    answer = client.post(f"/page/{path}", json={}, headers=headers)

    assert answer.status_code == 403
    assert answer.json["error"]["type"] == "Forbidden"


def test_post_with_the_token_of_another_process_is_refused() -> None:
    answer = served().post(
        "/page/masks", json={}, headers={"X-Page-Token": token_of(served())}
    )

    assert answer.status_code == 403
    assert "Load it again" in answer.json["error"]["message"]


def test_token_opens_no_route_but_the_page_s(client: FlaskClient) -> None:
    headers = {"X-Page-Token": token_of(client), "Origin": _HOST}

    assert client.post("/predict", json={}, headers=headers).status_code == 403
    assert client.post("/page/masks", json={}, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("guard", "host", "is_trusted"),
    [
        pytest.param({}, "localhost:9090", True, id="this-machine"),
        pytest.param({}, "[::1]:9090", True, id="by-number"),
        pytest.param({}, "evil.org:9090", False, id="rebound-name"),
        pytest.param({"is_on_loopback": False}, "10.0.0.5", False, id="open-to-all"),
        pytest.param(
            {"is_on_loopback": False, "has_password": True},
            "box.example",
            True,
            id="password",
        ),
    ],
)
def test_addresses_are_read_for_trusted_people_alone(
    guard: dict[str, bool], host: str, is_trusted: bool
) -> None:
    client = served(**guard)
    place = {"base_url": f"http://{host}/"}
    headers = {"X-Page-Token": token_of(client, **place), "Origin": f"http://{host}"}

    answer = client.post(
        "/page/addresses", json={"address": picture("red")}, headers=headers, **place
    )

    assert answer.status_code == (200 if is_trusted else 403)
    assert ("picture" in answer.json) == is_trusted


@pytest.mark.parametrize("path", ["/", "/page/static/page.js", "/page/pictures/none"])
def test_answers_keep_the_browser_to_this_host(path: str, client: FlaskClient) -> None:
    answer = client.get(path, headers={"Accept": "text/html"})
    answer.close()

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_page_names_its_files_relative_to_where_it_is(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept": "text/html"}).text

    addresses = re.findall(r'(?:href|src|action)="([^"]*)"', page)
    assert addresses
    assert not [one for one in addresses if one.startswith(("/", "http"))]
