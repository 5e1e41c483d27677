import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from backend.label_studio.client import LabelStudioClient, NoReply, Reply, ask
from backend.types import LabelStudioAccess
from tests.backend.doctor.checks import TOKEN, client_of
from tests.label_studio_stand_in import running_stand_in
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server, send


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def refresh_token() -> str:
    def part(content: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()

    return f"{part({'alg': 'HS256'})}.{part({'token_type': 'refresh'})}.signature"


def test_ask_gives_a_refusals_json_and_its_reason(web: WebServer) -> None:
    body = json.dumps({"detail": "Invalid token."}).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    url = web.serve("/a", body, status=401, headers=headers)

    reply = ask("GET", url)

    assert isinstance(reply, Reply)
    assert reply.status == 401
    assert reply.media_type == "application/json"
    assert reply.detail == "Invalid token."
    assert reply.reason == "status 401: Invalid token."


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"", b"\xff\xfe", b"[" * 200_000],
    ids=["html", "empty", "no-text", "deep"],
)
def test_ask_gives_no_body_for_what_is_not_json(web: WebServer, body: bytes) -> None:
    reply = ask("GET", web.serve("/a", body))

    assert reply == Reply(status=200, body=None)
    assert isinstance(reply, Reply)
    assert reply.detail == ""


def test_ask_follows_no_redirect(web: WebServer) -> None:
    url = web.redirect("/a", "https://elsewhere.example/a", status=301)

    reply = ask("GET", url)

    assert reply == Reply(status=301, location="https://elsewhere.example/a")
    assert len(web.seen) == 1


def test_ask_says_that_an_answer_is_compressed(web: WebServer) -> None:
    url = web.serve("/a", b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    reply = ask("GET", url)

    assert isinstance(reply, NoReply)
    assert reply.cause == "other"
    assert "encoding 'gzip', which was not asked for" in reply.reason


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_ask_heeds_no_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, web: WebServer, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")

    assert ask("GET", web.serve("/a", b"1")) == Reply(status=200, body=1)


def test_ask_gives_no_reply_to_what_is_no_json(web: WebServer) -> None:
    reply = ask("POST", web.url, body=[float("nan")])

    assert isinstance(reply, NoReply)
    assert web.seen == []


def test_ask_names_a_port_where_nothing_listens() -> None:
    reply = ask("GET", f"http://127.0.0.1:{free_port()}/")

    assert reply == NoReply(cause="refused", reason="nothing listens there")


def test_ask_names_a_host_that_has_no_address() -> None:
    reply = ask("GET", "http://no-such-host.invalid/")

    assert isinstance(reply, NoReply)
    assert reply.cause == "name"


def test_ask_names_a_server_that_does_not_speak_tls(web: WebServer) -> None:
    reply = ask("GET", web.url.replace("http:", "https:"), timeout_s=5)

    assert isinstance(reply, NoReply)
    assert reply.cause == "not-tls"


def test_ask_gives_a_server_up_that_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        reply = ask(
            "GET", f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.3
        )

    assert reply == NoReply(cause="timeout", reason="no answer within 0.3 s")


def test_ask_gives_an_answer_up_that_drips(web: WebServer) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not web.stopped.wait(0.05):
            handler.wfile.write(b" ")

    web.route("/a", drip)

    reply = ask("GET", web.url + "/a", timeout_s=0.4)

    assert isinstance(reply, NoReply)
    assert reply.cause == "timeout"


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a\x00b/", "gopher://x/", "http://" + "a" * 70 + "/"]
)
def test_ask_never_raises_for_an_address_that_cannot_be(url: str) -> None:
    assert isinstance(ask("GET", url), NoReply)


def test_ask_never_raises_for_an_answer_that_is_not_http() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example SMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        reply = ask("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()

    assert isinstance(reply, NoReply)
    assert reply.cause == "other"


def test_client_sends_a_legacy_token_as_it_is(web: WebServer) -> None:
    web.serve("/sub/api/x", b"[1]")
    client = LabelStudioClient(
        LabelStudioAccess(url=web.url + "/sub", token=TOKEN, from_environment=True)
    )

    reply = client.get("/api/x")

    assert reply == Reply(status=200, body=[1])
    assert web.seen[0].headers["authorization"] == f"Token {TOKEN}"


def test_client_exchanges_a_personal_access_token_once(web: WebServer) -> None:
    web.serve("/api/token/refresh/", b'{"access": "abc"}')
    web.serve("/api/x", b"{}")
    client = LabelStudioClient(
        LabelStudioAccess(url=web.url, token=refresh_token(), from_environment=True)
    )

    client.get("/api/x")
    client.post("/api/x", {"a": 1})

    paths = [request.path for request in web.seen]
    assert paths == ["/api/token/refresh/", "/api/x", "/api/x"]
    assert web.seen[2].headers["authorization"] == "Bearer abc"
    assert json.loads(web.seen[2].body) == {"a": 1}


def test_client_says_that_a_personal_access_token_is_refused(web: WebServer) -> None:
    web.serve("/api/token/refresh/", b'{"detail": "blacklisted"}', status=401)
    client = LabelStudioClient(
        LabelStudioAccess(url=web.url, token=refresh_token(), from_environment=True)
    )

    reply = client.get("/api/x")

    assert isinstance(reply, NoReply)
    assert reply.cause == "token"
    assert "revoked" in reply.reason


def test_client_waits_as_long_as_a_call_may_take(web: WebServer) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        web.stopped.wait(0.6)
        send(handler, b"{}")

    web.route("/api/x", slow)
    client = client_of(web)

    assert isinstance(client.get("/api/x", timeout_s=0.2), NoReply)
    assert isinstance(client.get("/api/x", timeout_s=5), Reply)


def test_client_deletes_with_its_token() -> None:
    with running_stand_in() as studio:
        prediction_id = studio.store(1, "v")
        client = studio.client()

        replies = [client.delete(f"/api/predictions/{prediction_id}") for _ in range(2)]

    assert [reply.status for reply in replies if isinstance(reply, Reply)] == [204, 404]
    assert studio.predictions == {}


def test_client_asks_once_more_with_a_new_access_token_and_not_again(
    web: WebServer,
) -> None:
    web.serve("/api/token/refresh/", b'{"access": "abc"}')
    web.serve("/api/x", b'{"detail": "Given token not valid"}', status=401)
    client = LabelStudioClient(
        LabelStudioAccess(url=web.url, token=refresh_token(), from_environment=True)
    )

    reply = client.post("/api/x", {})

    assert isinstance(reply, Reply)
    assert reply.reason == "status 401: Given token not valid"
    assert [request.path for request in web.seen] == [
        "/api/token/refresh/",
        "/api/x",
        "/api/token/refresh/",
        "/api/x",
    ]


def test_client_does_not_repeat_what_is_refused_to_a_legacy_token(
    web: WebServer,
) -> None:
    web.serve("/api/x", b"{}", status=401)
    client = client_of(web)

    client.post("/api/x", {})

    assert len(web.seen) == 1


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(
            {"detail": "Validation error", "validation_errors": {"a": ["b"]}},
            "('a', ['b'])",
            id="of-a-field",
        ),
        pytest.param(
            {
                "detail": "Validation error",
                "validation_errors": {"non_field_errors": ["one", "two"]},
            },
            "one; two",
            id="of-no-field",
        ),
        pytest.param({"detail": "d", "validation_errors": None}, "d", id="none"),
        pytest.param({"detail": {"a": 1}}, "", id="odd-detail"),
        pytest.param(["detail"], "", id="list"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_detail_is_what_label_studio_says(body: Any, detail: str) -> None:
    assert Reply(status=400, body=body).detail == detail


def test_ask_reads_no_body_without_end(web: WebServer) -> None:
    url = web.serve("/a", b"[" + b"1," * (17 * 2**20) + b"1]")

    reply = ask("GET", url, timeout_s=60)

    assert isinstance(reply, Reply)
    assert (reply.status, reply.body, reply.is_cut) == (200, None, True)
