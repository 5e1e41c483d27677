import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from backend.doctor.findings import Finding
from backend.doctor.label_studio import check_address, check_token
from backend.label_studio import LabelStudioClient
from tests.backend.doctor.checks import (
    TOKEN,
    client_of,
    only,
    outcome,
    serve_json,
    serve_label_studio,
    settings,
)
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server

WHO_AM_I = "/api/current-user/whoami"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def check(url: str) -> Finding:
    (finding,), is_there = outcome(
        check_address(settings(LABEL_STUDIO_URL=url), is_needed=True)
    )
    assert is_there == (finding.level == "ok")
    return finding


def jwt(kind: str) -> str:
    claims = json.dumps({"token_type": kind, "exp": 1}).encode()
    return f"eyJhbGciOiJIUzI1NiJ9.{base64.urlsafe_b64encode(claims).decode()}.c2ln"


def check_with_token(web: WebServer, token: str = TOKEN) -> tuple[Finding, bool]:
    given = settings(LABEL_STUDIO_URL=web.url, LABEL_STUDIO_API_KEY=token)
    client = LabelStudioClient(given.label_studio)
    (finding,), is_open = outcome(check_token(given, client, is_needed=True))
    return finding, is_open


def test_check_address_recognises_label_studio_and_its_version(web: WebServer) -> None:
    serve_label_studio(web)

    finding = check(web.url)

    assert finding.seen == f"version 1.23.2 at {web.url}"
    assert all("authorization" not in request.headers for request in web.seen)


@pytest.mark.parametrize(
    ("is_needed", "level"), [(True, "problem"), (False, "warning")]
)
def test_check_address_misses_the_variable(is_needed: bool, level: str) -> None:
    finding = only(check_address(settings(), is_needed=is_needed))

    assert finding.level == level
    assert "LABEL_STUDIO_URL is not set" in finding.seen


def test_check_address_reports_a_port_where_nothing_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    finding = check(url)

    assert finding.seen == f"{url} does not answer: nothing listens there"
    assert finding.remedy is not None
    assert finding.remedy.startswith("Start Label Studio")
    assert "host.docker.internal" in finding.remedy


def test_check_address_reports_an_unknown_host_without_talk_of_localhost() -> None:
    finding = check("http://label-studio.invalid:8080")

    assert "cannot be resolved" in finding.seen
    assert finding.remedy is not None
    assert "localhost" not in finding.remedy


def test_check_address_writes_the_address_for_a_server_without_tls(
    web: WebServer,
) -> None:
    finding = check(web.url.replace("http:", "https:"))

    assert finding.remedy is not None
    assert f"Set LABEL_STUDIO_URL={web.url}" in finding.remedy


def test_check_address_writes_the_address_that_a_redirect_leads_to(
    web: WebServer,
) -> None:
    web.redirect(WHO_AM_I, f"https://ls.example{WHO_AM_I}?next=secret", status=301)

    finding = check(web.url)

    assert "where no token is sent" in finding.seen
    assert "secret" not in str(finding)
    assert finding.remedy == "Set LABEL_STUDIO_URL=https://ls.example"


def test_check_address_follows_a_relative_redirect_to_a_sub_path(
    web: WebServer,
) -> None:
    web.redirect(WHO_AM_I, f"/studio{WHO_AM_I}", status=308)

    assert check(web.url).remedy == f"Set LABEL_STUDIO_URL={web.url}/studio"


def test_check_address_reports_a_login_page_in_front(web: WebServer) -> None:
    web.redirect(WHO_AM_I, "https://login.example/oauth?state=1")

    finding = check(web.url)

    assert "that is not Label Studio's API" in finding.seen
    assert finding.remedy is not None
    assert "login page" in finding.remedy


def test_check_address_reports_a_path_below_which_there_is_no_api(
    web: WebServer,
) -> None:
    serve_label_studio(web)
    web.serve("/projects/health", b'{"status": "UP"}')

    finding = check(web.url + "/projects")

    assert "answers 404" in finding.seen
    assert finding.remedy is not None
    assert "the same on all of Label Studio's pages" in finding.remedy


@pytest.mark.parametrize("status", [200, 401])
def test_check_address_reports_a_page_that_is_not_label_studio(
    web: WebServer, status: int
) -> None:
    headers = {"Content-Type": "text/html; charset=utf-8"}
    web.serve(WHO_AM_I, b"<html>Welcome", status=status, headers=headers)

    assert f"answers {status} (text/html)" in check(web.url).seen


def test_check_address_recognises_a_backends_own_address(web: WebServer) -> None:
    serve_json(web, "/health", {"model_version": "diffsegmenter-pocket-paper-1"})

    assert f"{web.url} is a backend's own address" in check(web.url).seen


@pytest.mark.parametrize("body", [[], {}, {"release": None}, "x", 3])
def test_check_address_goes_on_without_a_version(web: WebServer, body: Any) -> None:
    serve_label_studio(web)
    serve_json(web, "/api/version", body)

    assert check(web.url).seen.startswith("version unknown at")


def names_both_kinds_of_token(finding: Finding) -> bool:
    return finding.remedy is not None and all(
        place in finding.remedy
        for place in (
            "Account & Settings > Personal Access Token",
            "Account & Settings > Legacy Token",
            "must be enabled in the organization",
        )
    )


@pytest.mark.parametrize(
    ("is_needed", "level"), [(True, "problem"), (False, "warning")]
)
def test_check_token_misses_the_variable(is_needed: bool, level: str) -> None:
    (finding,), is_open = outcome(check_token(settings(), None, is_needed=is_needed))

    assert not is_open
    assert finding.level == level
    assert "LABEL_STUDIO_API_KEY is not set" in finding.seen
    assert names_both_kinds_of_token(finding)


def test_check_token_tells_the_kind_even_without_label_studio() -> None:
    given = settings(LABEL_STUDIO_API_KEY=jwt("refresh"))

    finding = only(check_token(given, None, is_needed=True))

    assert finding.level == "skipped"
    assert "; it is a personal access token" in finding.seen


def test_check_token_names_the_user_of_an_accepted_token(web: WebServer) -> None:
    serve_json(web, WHO_AM_I, {"email": "ann@example.com"})

    finding, is_open = check_with_token(web)

    assert is_open
    assert finding.level == "ok"
    assert finding.seen == "a legacy token of ann@example.com, accepted"


def test_check_token_exchanges_a_personal_access_token(web: WebServer) -> None:
    serve_json(web, "/api/token/refresh/", {"access": jwt("access")})
    serve_json(web, WHO_AM_I, {"username": "ann"})

    finding, is_open = check_with_token(web, jwt("refresh"))

    assert is_open
    assert finding.seen == "a personal access token of ann, accepted"


def test_check_token_reports_a_revoked_personal_access_token(web: WebServer) -> None:
    serve_json(web, "/api/token/refresh/", {"detail": "blacklisted"}, status=401)

    finding, is_open = check_with_token(web, jwt("refresh"))

    assert not is_open
    assert finding.level == "problem"
    assert "revoked" in finding.seen
    assert names_both_kinds_of_token(finding)


def test_check_token_warns_of_a_token_that_ends_within_minutes(web: WebServer) -> None:
    serve_json(web, WHO_AM_I, {"email": "a@b.c"})

    finding, is_open = check_with_token(web, jwt("access"))

    assert is_open
    assert finding.level == "warning"
    assert "ends within minutes" in finding.seen
    assert names_both_kinds_of_token(finding)


def test_check_token_reports_that_legacy_tokens_are_disabled(web: WebServer) -> None:
    detail = (
        "Authentication token no longer valid: legacy token authentication has been "
        "disabled for this organization"
    )
    serve_json(web, WHO_AM_I, {"detail": detail}, status=401)

    finding, is_open = check_with_token(web)

    assert not is_open
    assert finding.level == "problem"
    assert "legacy tokens are disabled" in finding.seen
    assert finding.remedy is not None
    assert "Account & Settings > Personal Access Token" in finding.remedy
    assert "Enable legacy tokens under Organization" in finding.remedy


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        pytest.param(TOKEN, "legacy token", id="legacy"),
        pytest.param("abc", "token of unknown kind", id="short"),
        pytest.param("a.b.c", "token of unknown kind", id="three-parts"),
        pytest.param("a.bnVsbA.c", "token of unknown kind", id="claims-are-null"),
        pytest.param(jwt("sliding"), "token of unknown kind", id="another-jwt"),
    ],
)
def test_check_token_reports_a_refused_token_with_its_kind(
    web: WebServer, token: str, kind: str
) -> None:
    serve_json(web, WHO_AM_I, {"detail": "Invalid token."}, status=401)

    finding, is_open = check_with_token(web, token)

    assert not is_open
    assert finding.level == "problem"
    assert finding.seen == f"a {kind}, refused (status 401: Invalid token.)"
    assert names_both_kinds_of_token(finding)


@pytest.mark.parametrize("body", [None, [], 0])
def test_check_token_never_takes_a_strange_answer_for_consent(
    web: WebServer, body: Any
) -> None:
    serve_json(web, WHO_AM_I, body)

    assert check_with_token(web)[1] is False


def test_client_of_speaks_for_the_token(web: WebServer) -> None:
    client = client_of(web)
    client.get(WHO_AM_I)

    assert web.seen[0].headers["authorization"] == f"Token {TOKEN}"
