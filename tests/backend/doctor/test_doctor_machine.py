import json
import socket
from collections.abc import Iterator

import pytest

from backend.doctor.machine import (
    ask_health,
    check_listening,
    check_settings,
    is_loopback,
    is_own_url,
    is_this_machine,
    model_version_of,
    own_url,
)
from backend.label_studio import NoReply, Reply
from tests.backend.doctor.checks import only, outcome, settings
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server

OURS = {"model_version": "diffsegmenter-pocket-paper-1", "model": "ready"}


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def test_check_settings_names_the_variables_that_are_set() -> None:
    finding = only(check_settings(settings(PORT="9191", LABEL_STUDIO_HOST="http://a")))

    assert finding.level == "ok"
    assert "environment: LABEL_STUDIO_URL, PORT; all" in finding.seen


def test_check_settings_says_that_nothing_is_set() -> None:
    assert "no variable is set" in only(check_settings(settings())).seen


def test_check_listening_tells_to_start_a_backend_where_nothing_listens() -> None:
    finding = only(check_listening(settings(PORT=str(free_port()))))

    assert finding.level == "warning"
    assert "with these settings the backend would listen on HOST=" in finding.seen
    assert finding.remedy is not None
    assert finding.remedy.startswith("Start the backend: diffsegmenter serve.")
    assert "the backend's own environment" in finding.remedy


def test_check_listening_recognises_the_running_backend(web: WebServer) -> None:
    web.serve("/health", json.dumps(OURS).encode())

    finding = only(check_listening(settings(PORT=str(web.port))))

    assert finding.level == "ok"
    assert "diffsegmenter-pocket-paper-1, its model is ready" in finding.seen


def test_check_listening_reports_a_backend_whose_model_failed(web: WebServer) -> None:
    web.serve("/health", json.dumps({**OURS, "model": "failed: no file"}).encode())

    finding = only(check_listening(settings(PORT=str(web.port))))

    assert finding.level == "problem"
    assert "failed: no file" in finding.seen


def test_check_listening_asks_a_running_backend_with_the_password(
    web: WebServer,
) -> None:
    web.serve("/health", b"{}", status=401)

    finding = only(
        check_listening(
            settings(
                PORT=str(web.port), BASIC_AUTH_USER="ann", BASIC_AUTH_PASS="päss:word"
            )
        )
    )

    assert finding.level == "problem"
    assert "does not accept BASIC_AUTH_USER" in finding.seen
    assert web.seen[0].headers["authorization"] == "Basic YW5uOnDDpHNzOndvcmQ="


def test_check_listening_offers_another_port_where_a_stranger_listens(
    web: WebServer,
) -> None:
    web.serve("/health", b'{"status": "UP"}')

    finding = only(check_listening(settings(PORT=str(web.port))))

    assert finding.level == "problem"
    assert finding.remedy is not None
    assert f"PORT={web.port + 1}" in finding.remedy


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("x86_64-conda-linux-gnu", id="what-conda-sets"),
        pytest.param("192.0.2.1", id="another-machine"),
        pytest.param("a..b", id="no-name"),
    ],
)
def test_check_listening_reports_a_host_that_is_not_this_machine(host: str) -> None:
    finding = only(check_listening(settings(HOST=host)))

    assert finding.level == "problem"
    assert f"HOST={host!r} is no address of this machine" in finding.seen
    assert finding.remedy is not None
    assert "HOST=127.0.0.1" in finding.remedy


def test_check_listening_warns_of_loopback_while_label_studio_is_elsewhere() -> None:
    findings, _ = outcome(
        check_listening(
            settings(PORT=str(free_port()), LABEL_STUDIO_URL="http://192.0.2.7:8080")
        )
    )

    assert findings[1].level == "warning"
    assert "Label Studio is on 192.0.2.7" in findings[1].seen
    assert findings[1].remedy is not None
    assert findings[1].remedy.startswith("Set HOST=0.0.0.0")


def test_check_listening_accepts_loopback_beside_label_studio() -> None:
    found, _ = outcome(
        check_listening(
            settings(PORT=str(free_port()), LABEL_STUDIO_URL="http://localhost:8080")
        )
    )

    assert [finding.subject for finding in found] == ["listening"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_check_listening_warns_of_an_open_door(host: str) -> None:
    if host == "::" and not socket.has_ipv6:
        host = "0.0.0.0"
    port = str(free_port())
    login = {"BASIC_AUTH_USER": "a", "BASIC_AUTH_PASS": "b"}

    open_door, _ = outcome(check_listening(settings(HOST=host, PORT=port)))
    closed, _ = outcome(check_listening(settings(HOST=host, PORT=port, **login)))

    assert open_door[-1].level == "warning"
    assert "no password is asked for" in open_door[-1].seen
    assert [finding.subject for finding in closed] == ["listening"]


def test_own_url_is_one_that_can_be_asked() -> None:
    assert own_url(settings(HOST="0.0.0.0", PORT="1")) == "http://127.0.0.1:1"
    assert own_url(settings(HOST="::1", PORT="1")) == "http://[::1]:1"
    assert own_url(settings(HOST="box.lan", PORT="1")) == "http://box.lan:1"


def test_loopback_is_not_all_of_this_machine() -> None:
    assert is_this_machine("localhost")
    assert is_this_machine("0.0.0.0")
    assert not is_this_machine("192.0.2.1")
    assert is_loopback("127.0.0.53")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize(
    "reply",
    [
        NoReply(cause="refused", reason="x"),
        Reply(status=200),
        Reply(status=200, body=["diffsegmenter-"]),
        Reply(status=200, body={"model_version": 3}),
        Reply(status=200, body={"model_version": "yolo"}),
    ],
)
def test_model_version_of_is_none_for_anything_else(reply: Reply | NoReply) -> None:
    assert model_version_of(reply) is None


def test_ask_health_sends_no_password_where_none_is_set(web: WebServer) -> None:
    web.serve("/health", json.dumps(OURS).encode())

    reply = ask_health(web.url + "/", settings())

    assert model_version_of(reply) == OURS["model_version"]
    assert "authorization" not in web.seen[0].headers


@pytest.mark.parametrize(
    ("url", "host", "is_own"),
    [
        pytest.param("http://localhost:9090/", "127.0.0.1", True, id="loopback"),
        pytest.param("http://box.lan:9090", "0.0.0.0", True, id="by-any-name"),
        pytest.param("http://127.0.0.1:9091", "127.0.0.1", False, id="port"),
        pytest.param("http://box.lan", "0.0.0.0", False, id="usual-port"),
        pytest.param("http://box.lan:9090", "127.0.0.1", False, id="not-loopback"),
        pytest.param("http://a:port", "127.0.0.1", False, id="no-address"),
    ],
)
def test_is_own_url_tells_another_backends_address(
    url: str, host: str, is_own: bool
) -> None:
    assert is_own_url(url, settings(HOST=host, PORT="9090")) is is_own
