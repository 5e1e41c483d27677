import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from backend.deadline import Deadline
from backend.errors import (
    HostOutOfScope,
    HttpError,
    HttpTimeout,
    ResponseCompressed,
    ResponseTooLarge,
)
from backend.http import (
    HttpClient,
    NetworkScope,
    Resolve,
    Response,
    basic_auth,
    origin,
    parse_url,
    resolve_host,
)
from tests.web_server import WebServer, running_web_server

pytestmark = pytest.mark.timeout(30)


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def send(
    url: str,
    *,
    method: str = "GET",
    resolve: Resolve = here,
    trusted: ssl.SSLContext | None = None,
    scope: NetworkScope = NetworkScope.PRIVATE,
    limit_s: float = 5.0,
    max_bytes: int = 1000,
    **options: Any,
) -> Response:
    return HttpClient(resolve=resolve, trusted=trusted).send(
        method,
        parse_url(url),
        scope=scope,
        deadline=Deadline.after(limit_s, time.monotonic),
        max_bytes=max_bytes,
        **options,
    )


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def test_send_takes_the_name_to_the_address_it_resolved(server: WebServer) -> None:
    server.serve("/x%20y.png", b"body", headers={"X-One": "1"})

    response = send(f"http://a.org:{server.port}/x y.png?q=%2F")

    assert (response.status, response.headers["x-one"]) == (200, "1")
    assert response.body == b"body"
    (seen,) = server.seen
    assert seen.path == "/x%20y.png?q=%2F"
    assert seen.headers["host"] == f"a.org:{server.port}"


@pytest.mark.parametrize(
    "address",
    [
        "http://good.org:80@evil.org:{port}/",
        "http://good.org\\@evil.org:{port}/",
        "http://evil.org:{port}#@good.org/",
        "http://evil.org:{port}?@good.org/",
        "http://evil.org:{port}/\\@good.org",
        "http://evil.org:{port}/http://good.org/",
        "HTTP://EVIL.org:{port}/",
        "http://bücher.de:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://2130706433:{port}/",
        "http://127.1:{port}/",
    ],
)
def test_send_connects_to_the_host_that_is_checked(
    server: WebServer, address: str
) -> None:
    url = address.format(port=server.port)
    lookups: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append((host, port))
        return ["127.0.0.1"]

    send(url, resolve=resolve)

    (seen,) = server.seen
    assert lookups == [origin(parse_url(url))[1:]]
    assert seen.headers["host"] == parse_url(url).netloc.decode()


def test_send_refuses_before_it_connects(server: WebServer) -> None:
    with pytest.raises(HostOutOfScope, match="outside of the public internet"):
        send(f"http://a.org:{server.port}/x", scope=NetworkScope.PUBLIC)

    assert server.seen == []


def test_send_resolves_and_checks_every_request_anew(server: WebServer) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    client = HttpClient(resolve=lambda *_: next(answers))
    url = parse_url(f"http://a.org:{server.port}/")

    def ask() -> Response:
        return client.send(
            "GET",
            url,
            scope=NetworkScope.PRIVATE,
            deadline=Deadline.after(5, time.monotonic),
            max_bytes=0,
        )

    ask()
    with pytest.raises(HostOutOfScope, match=r"169\.254\.169\.254"):
        ask()
    assert len(server.seen) == 1


@pytest.mark.parametrize("missing", ["scope", "deadline", "max_bytes"])
def test_send_refuses_a_request_without_limits(server: WebServer, missing: str) -> None:
    limits: dict[str, Any] = {
        "scope": NetworkScope.PRIVATE,
        "deadline": Deadline.after(5, time.monotonic),
        "max_bytes": 0,
    }
    del limits[missing]

    with pytest.raises(TypeError, match=missing):
        HttpClient().send("GET", parse_url(server.url), **limits)
    assert server.seen == []


def test_send_asks_for_nothing_that_it_would_have_to_undo(server: WebServer) -> None:
    send(server.serve("/a"))

    headers = server.seen[0].headers
    assert headers["accept-encoding"] == "identity"
    assert headers["connection"] == "close"
    assert not {"authorization", "cookie", "content-length"} & set(headers)


def test_send_sends_json_as_utf8(server: WebServer) -> None:
    send(server.serve("/a"), method="POST", json={"label": "Bär"})

    (seen,) = server.seen
    assert json.loads(seen.body) == {"label": "Bär"}
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["content-length"] == str(len('{"label":"Bär"}'.encode()))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_send_refuses_what_json_cannot_hold(server: WebServer, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        send(server.url, method="POST", json=[number])
    assert server.seen == []


def test_send_sends_the_user_of_a_url_and_prefers_what_is_given(
    server: WebServer,
) -> None:
    url = server.serve("/a").replace("//", "//me:w%40rd@")

    send(url)
    send(url, headers={"Authorization": "Token t"})

    sent = [request.headers["authorization"] for request in server.seen]
    assert sent == ["Basic bWU6d0ByZA==", "Token t"]
    assert basic_auth("me", "w@rd") == sent[0]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_send_reads_the_body_of_a_refusal_only_when_told_to(
    server: WebServer, status: int
) -> None:
    url = server.serve("/a", b"why not", status=status)

    assert send(url, max_bytes=3).body == b""
    assert send(url, reads_refusals=True).body == b"why not"


def test_send_says_who_asks_and_where_to_read_about_it(server: WebServer) -> None:
    send(server.serve("/a"))

    (request,) = server.seen
    agent = request.headers["user-agent"]
    assert re.fullmatch(r"diffsegmenter/[\w.]+ \(\+https://[\w./-]+\)", agent)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_send_reads_as_much_of_a_refusal_as_it_is_told_to(
    server: WebServer, status: int
) -> None:
    url = server.serve("/a", b"why not" * 1000, status=status)

    assert send(url, excerpt_bytes=10).body == b"why notwhy"
    assert send(url, excerpt_bytes=10_000, max_bytes=3).body == b"why not" * 1000


def test_send_reads_no_excerpt_of_redirects_and_of_what_is_compressed(
    server: WebServer,
) -> None:
    moved = server.serve("/a", b"moved", status=302)
    packed = server.serve(
        "/b", b"packed", status=403, headers={"Content-Encoding": "gzip"}
    )

    assert send(moved, excerpt_bytes=10).body == b""
    assert send(packed, excerpt_bytes=10).body == b""


def test_send_does_not_wait_long_for_the_words_of_a_refusal(server: WebServer) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(403)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"because")
        handler.wfile.flush()
        server.stopped.wait(20)

    server.route("/a", stall)
    started = time.monotonic()

    response = send(server.url + "/a", excerpt_bytes=100, limit_s=20)

    assert (response.status, response.body) == (403, b"because")
    assert time.monotonic() - started < 10


def test_send_says_of_which_status_a_body_is_that_is_too_large(
    server: WebServer,
) -> None:
    url = server.serve("/a", b"why not", status=404)

    with pytest.raises(ResponseTooLarge, match="has 7 bytes; the limit is 6") as caught:
        send(url, reads_refusals=True, max_bytes=6)
    assert caught.value.status == 404


def test_send_reads_no_body_that_is_compressed(server: WebServer) -> None:
    url = server.serve("/a", b"x", headers={"Content-Encoding": "gzip"})

    with pytest.raises(ResponseCompressed, match=r"'gzip', which was not asked for\.$"):
        send(url)


def test_send_names_the_time_that_was_granted(server: WebServer) -> None:
    server.route("/a", lambda handler: bool(server.stopped.wait(5)) and None)

    with pytest.raises(HttpTimeout, match=r"/a did not arrive within 0\.2 s\.$"):
        send(f"{server.url}/a?sig=1", limit_s=0.2)


def test_send_reports_a_refused_connection() -> None:
    with running_web_server() as server:
        url = server.url

    with pytest.raises(HttpError, match=r"cannot be read: .*refused.*localhost is the"):
        send(url)


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
def test_send_reports_broken_http(server: WebServer, raw: bytes) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    server.route("/", respond)

    with pytest.raises(HttpError, match="cannot be read"):
        send(f"{server.url}/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of `a.test`, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    file = tmp_path_factory.mktemp("tls") / "a.pem"
    command = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {file} -out {file}.crt"
    )
    names = ["-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test"]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True)
    with file.open("ab") as both:
        both.write(Path(f"{file}.crt").read_bytes())
    return file


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[WebServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running_web_server(context) as server:
        server.serve("/a", b"secret")
        yield server


def test_send_checks_a_certificate_against_the_name(
    tls_server: WebServer, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))

    response = send(f"https://a.test:{tls_server.port}/a", trusted=trusting)
    assert response.body == b"secret"
    with pytest.raises(HttpError, match="Hostname mismatch"):
        send(f"https://b.test:{tls_server.port}/a", trusted=trusting)


def test_send_refuses_a_certificate_that_nobody_vouches_for(
    tls_server: WebServer,
) -> None:
    with pytest.raises(HttpError, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE"):
        send(f"https://a.test:{tls_server.port}/a")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [".a.test", "a" * 64 + ".test"])
def test_send_reports_a_name_that_no_host_can_have(scheme: str, host: str) -> None:
    with pytest.raises(HttpError, match="cannot be resolved"):
        send(f"{scheme}://{host}/a", resolve=resolve_host)
