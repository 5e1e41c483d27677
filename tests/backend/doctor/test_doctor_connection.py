import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from backend.doctor.connection import check_connection
from backend.doctor.findings import Finding
from backend.doctor.project import Project
from tests.backend.doctor.checks import client_of, outcome, row, serve_json, settings
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server, send

PROJECT = Project(
    id=7,
    title="Boats",
    label_config="<View/>",
    shows_predictions=True,
    predicts_when_listed=False,
)
# As Label Studio 1.23.2 words them.
BLOCKED = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
NOT_HTTP = "The provided URL was not allowed. URLs must use http:// or https://, and"
UNKNOWN_HOST = "Can't resolve hostname backend"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        serve_json(server, "/api/webhooks/", {"detail": "Validation error"}, status=400)
        serve_json(server, "/api/ml", {"detail": "Validation error"}, status=400)
        yield server


def serve_rows(web: WebServer, *rows: Any, path: str = "/api/ml") -> None:
    """List these backends, or webhooks, and refuse to store another."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        status, body = (200, [*rows]) if handler.command == "GET" else (400, {})
        send(handler, json.dumps(body).encode(), status=status)

    web.route(path, respond)


def serve_webhooks(web: WebServer, *rows: Any) -> None:
    serve_rows(web, *rows, path="/api/webhooks/")


def check(
    web: WebServer,
    project: Project | None = PROJECT,
    *,
    expected_version: str | None = None,
    **variables: str,
) -> dict[str, list[Finding]]:
    """Findings by subject."""
    client = client_of(web)
    variables.setdefault("PORT", str(free_port()))
    found, _ = outcome(
        check_connection(
            settings(LABEL_STUDIO_URL=web.url, **variables),
            client,
            project,
            expected_version=lambda: expected_version,
        )
    )
    by_subject: dict[str, list[Finding]] = {}
    for finding in found:
        by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


def posts(web: WebServer) -> dict[str, Any]:
    return {
        request.path: json.loads(request.body)
        for request in web.seen
        if request.method == "POST"
    }


def test_questions_about_an_address_cannot_store_anything(web: WebServer) -> None:
    check(web, None, PORT="9999")

    asked = posts(web)
    # No project, which is required, and flags and actions that do not exist.
    assert asked["/api/ml"] == {
        "url": "http://127.0.0.1:9999",
        "is_interactive": "neither",
    }
    assert asked["/api/webhooks/"] == {
        "url": "http://127.0.0.1:9999/webhook",
        "actions": ["NO_SUCH_ACTION"],
        "is_active": "neither",
    }


def test_an_address_that_label_studio_would_call_is_fine(web: WebServer) -> None:
    found = check(web, None)

    assert [f.level for f in found["call back"]] == ["ok"]
    assert [f.level for f in found["webhook"]] == ["ok"]
    assert [f.level for f in found["connection"]] == ["skipped"]


@pytest.mark.parametrize("detail", [BLOCKED, NOT_HTTP])
def test_a_blocked_address_comes_with_both_variables_to_set(
    web: WebServer, detail: str
) -> None:
    serve_json(web, "/api/ml", {"detail": detail}, status=403)

    found = check(web, None)

    (finding,) = found["call back"]
    assert finding.level == "problem"
    assert finding.remedy is not None
    assert "LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false" in finding.remedy
    assert "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false" in finding.remedy
    assert "webhook" not in found


def test_blocked_events_are_a_warning(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))
    serve_json(web, "/api/webhooks/", {"detail": BLOCKED}, status=403)

    (finding,) = check(web)["webhook"]

    assert finding.level == "warning"
    assert finding.remedy is not None
    assert "LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false" in finding.remedy


def test_a_host_that_label_studio_does_not_know_is_a_problem(web: WebServer) -> None:
    serve_json(web, "/api/ml", {"detail": UNKNOWN_HOST}, status=500)

    (finding,) = check(web, None)["call back"]

    assert finding.level == "problem"
    assert "cannot resolve the host" in finding.seen


@pytest.mark.parametrize("status", [200, 201, 403, 404, 405, 500])
def test_another_answer_is_no_verdict(web: WebServer, status: int) -> None:
    detail = 'Method "POST" not allowed.' if status == 405 else "Permission denied"
    serve_json(web, "/api/ml", {"detail": detail}, status=status)
    serve_json(web, "/api/webhooks/", "?", status=status)

    found = check(web, None)

    assert found["call back"][0].level == "skipped"
    assert found["webhook"][0].level == "skipped"


def test_the_connected_address_is_asked_about(web: WebServer) -> None:
    serve_rows(web, row("http://backend:9090/sub/"))

    check(web)

    assert posts(web)["/api/ml"]["url"] == "http://backend:9090/sub/"
    assert posts(web)["/api/webhooks/"]["url"] == "http://backend:9090/sub/webhook"


def test_a_connected_backend_is_fine(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))
    serve_webhooks(web, {"url": "http://127.0.0.1:9/webhook", "is_active": True})

    found = check(web)

    assert [f.level for f in found["connection"]] == ["ok"]
    assert "is connected, model version diffsegmenter-" in found["connection"][0].seen
    assert [f.level for f in found["webhook"]] == ["ok", "ok"]


def test_no_connected_backend_comes_with_the_address_to_enter(web: WebServer) -> None:
    serve_rows(web)

    (finding,) = check(web, PORT="9999")["connection"]

    assert finding.level == "problem"
    assert "no backend is connected to project 7" in finding.seen
    assert finding.remedy is not None
    assert "Connect Model and enter http://127.0.0.1:9999" in finding.remedy


def test_the_address_to_enter_is_not_localhost_for_a_label_studio_elsewhere(
    web: WebServer,
) -> None:
    serve_rows(web)
    client = client_of(web)
    elsewhere = settings(
        LABEL_STUDIO_URL="http://192.0.2.7", HOST="0.0.0.0", PORT="9999"
    )

    found, _ = outcome(check_connection(elsewhere, client, PROJECT))

    assert found[-1].remedy is not None
    assert "http://ADDRESS:9999" in found[-1].remedy


def disconnected(url: str, **fields: Any) -> dict[str, Any]:
    return row(url, state="DI", readable_state="Disconnected", **fields)


def serve_backend(web: WebServer) -> None:
    serve_json(web, "/health", {"model_version": "diffsegmenter-x", "model": "ready"})


@pytest.mark.parametrize(
    ("address", "variables", "remedy"),
    [
        pytest.param(
            lambda web: "http://127.0.0.1:9",
            lambda web: {},
            "Start the backend: diffsegmenter serve",
            id="not-running",
        ),
        pytest.param(
            lambda web: "http://127.0.0.1:9",
            lambda web: {"PORT": str(web.port)},
            "the backend is at http://127.0.0.1:",
            id="running-at-another-address",
        ),
        pytest.param(
            lambda web: web.url,
            lambda web: {},
            "Label Studio runs elsewhere, where localhost is its own",
            id="loopback-of-a-container",
        ),
        pytest.param(
            lambda web: web.url,
            lambda web: {"BASIC_AUTH_USER": "a", "BASIC_AUTH_PASS": "b"},
            "choose Basic Authentication",
            id="no-password-sent",
        ),
    ],
)
def test_a_disconnected_backend_comes_with_the_likeliest_remedy(
    web: WebServer,
    address: Callable[[WebServer], str],
    variables: Callable[[WebServer], dict[str, str]],
    remedy: str,
) -> None:
    serve_backend(web)
    serve_rows(web, disconnected(address(web)))

    (finding,) = check(web, **variables(web))["connection"]

    assert finding.level == "problem"
    assert "is disconnected" in finding.seen
    assert finding.remedy is not None
    assert remedy in finding.remedy


def test_a_failed_setup_is_shown_in_label_studios_words(web: WebServer) -> None:
    message = "500 Server Error for url http://127.0.0.1:9/setup\nmore"
    failed = {"state": "ER", "readable_state": "Error", "error_message": message}
    serve_rows(web, row("http://127.0.0.1:9", **failed))

    (finding,) = check(web)["connection"]

    assert finding.details == (
        "Label Studio says: 500 Server Error for url http://127.0.0.1:9/setup",
    )


def test_another_kind_of_backend_is_a_warning(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9", model_version="yolo8"))

    (finding,) = check(web)["connection"]

    assert finding.level == "warning"
    assert "another kind of backend (model version 'yolo8')" in finding.seen


def test_a_second_backend_is_a_warning(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"), row("http://127.0.0.1:8"))

    found = check(web)["connection"]

    assert [f.level for f in found] == ["ok", "ok", "warning"]
    assert "asks only the first" in found[2].seen


def test_predictions_that_nobody_sees_are_a_warning(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))

    finding = check(web, replace(PROJECT, shows_predictions=False))["connection"][-1]

    assert finding.level == "warning"
    assert finding.remedy is not None
    assert "Use predictions to prelabel tasks" in finding.remedy


@pytest.mark.parametrize(
    ("webhooks", "reason"),
    [
        pytest.param([], "(there is no webhook)", id="none"),
        pytest.param(
            [{"url": "http://127.0.0.1:9/webhook", "is_active": False}],
            "(the webhook is off)",
            id="off",
        ),
        pytest.param(
            [{"url": "http://elsewhere/webhook", "is_active": True}],
            "(there is no webhook)",
            id="of-another-backend",
        ),
    ],
)
def test_events_that_are_not_sent_are_a_warning(
    web: WebServer, webhooks: list[Any], reason: str
) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))
    serve_webhooks(web, *webhooks)

    finding = check(web)["webhook"][-1]

    assert finding.level == "warning"
    assert reason in finding.seen


@pytest.mark.parametrize(
    ("backend", "webhook", "level"),
    [
        pytest.param("", "/webhook", "warning", id="without"),
        pytest.param("", "/webhook?secret={}", "ok", id="query"),
        pytest.param("/{}", "/{}/webhook", "ok", id="path"),
    ],
)
def test_a_webhook_without_the_secret_is_a_warning(
    backend: str, webhook: str, level: str, web: WebServer
) -> None:
    secret = "0123456789abcdef"
    place = "http://127.0.0.1:9"
    serve_rows(web, row(place + backend.format(secret)))
    url = place + webhook.format(secret)
    serve_webhooks(web, {"url": url, "is_active": True})

    finding = check(web, WEBHOOK_SECRET=secret)["webhook"][-1]

    assert finding.level == level
    assert ("lacks it" in finding.seen) is (level == "warning")


def test_a_password_in_a_connected_address_is_not_shown(web: WebServer) -> None:
    serve_rows(web, row("http://ann:s3cret@127.0.0.1:9"))

    assert "s3cret" not in str(check(web))


def test_everything_is_skipped_without_label_studio() -> None:
    found, _ = outcome(check_connection(settings(), None, None))

    assert {finding.level for finding in found} == {"skipped"}


@pytest.mark.parametrize("rows", [{}, [3], [{}], [{"url": None}], "x", None])
def test_strange_lists_of_backends_are_survived(web: WebServer, rows: Any) -> None:
    serve_json(web, "/api/ml", rows)
    serve_json(web, "/api/webhooks/", rows)

    assert check(web)["connection"][0].level == "problem"


def test_backends_that_are_not_shown_are_skipped(web: WebServer) -> None:
    serve_json(web, "/api/ml", {"detail": "no"}, status=403)

    assert check(web)["connection"][0].level == "skipped"


def test_a_connected_backend_at_another_address_is_told_apart(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))

    (other,) = check(web, PORT="9999")["connection"]
    (own,) = check(web, PORT="9")["connection"]

    assert other.level == own.level == "ok"
    assert "another address, HOST=127.0.0.1, PORT=9999" in other.details[0]
    assert own.details == ()


def test_a_running_backend_with_other_settings_is_a_warning(web: WebServer) -> None:
    serve_rows(web, row("http://127.0.0.1:9"))

    connected, other = check(web, expected_version="diffsegmenter-sd-paper-2")[
        "connection"
    ]

    assert connected.level == "ok"
    assert other.level == "warning"
    assert other.seen == (
        "the running backend answers version diffsegmenter-pocket-paper-1, these "
        "settings give diffsegmenter-sd-paper-2: they differ in MODEL, thresholds or "
        "options"
    )
    assert other.remedy is not None
    assert "the backend's own environment" in other.remedy


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, "diffsegmenter-pocket-paper-1", id="same"),
        pytest.param({}, None, id="settings-of-no-backend"),
        pytest.param({"auto_update": False}, "diffsegmenter-x", id="not-asked-anew"),
        pytest.param({"state": "DI"}, "diffsegmenter-x", id="not-running"),
        pytest.param({"model_version": "yolo8"}, "diffsegmenter-x", id="another-kind"),
    ],
)
def test_versions_that_cannot_be_told_to_differ_are_no_finding(
    web: WebServer, fields: dict[str, Any], expected: str | None
) -> None:
    serve_rows(web, row("http://127.0.0.1:9", **fields))

    found = check(web, expected_version=expected)["connection"]

    assert len(found) == 1
