import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from backend.deadline import Deadline
from backend.errors import ImageRefused
from backend.http.network import Resolve
from backend.http.transport import DEADLINE, SCOPE, ScopedTransport
from backend.http.urls import NetworkScope
from tests.web_server import WebServer, running_web_server

pytestmark = pytest.mark.timeout(30)


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def transport(
    resolve: Resolve = here, trusted: ssl.SSLContext | None = None
) -> ScopedTransport:
    return ScopedTransport(
        resolve=resolve, trusted=trusted or ssl.create_default_context()
    )


def request(url: str, scope: NetworkScope = NetworkScope.PRIVATE) -> httpx.Request:
    deadline = Deadline.after(5, time.monotonic)
    return httpx.Request("GET", url, extensions={SCOPE: scope, DEADLINE: deadline})


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


def test_guarded_transport_sends_the_name_to_the_address_it_resolved(
    server: WebServer,
) -> None:
    server.serve("/x%20y.png", b"body", headers={"X-One": "1"})
    url = f"http://a.org:{server.port}/x y.png?q=%2F"

    with closing(transport().handle_request(request(url))) as response:
        body = b"".join(response.iter_raw())

    assert (response.status_code, response.headers["x-one"]) == (200, "1")
    assert body == b"body"
    (seen,) = server.seen
    assert seen.path == "/x%20y.png?q=%2F"
    assert seen.headers["host"] == f"a.org:{server.port}"


def test_guarded_transport_refuses_before_it_connects(server: WebServer) -> None:
    with pytest.raises(ImageRefused, match="IMAGE_HOSTS"):
        transport().handle_request(
            request(f"http://a.org:{server.port}/x", NetworkScope.PUBLIC)
        )

    assert server.seen == []


def test_guarded_transport_resolves_and_checks_every_request_anew(
    server: WebServer,
) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    sender = transport(lambda *_: next(answers))
    url = f"http://a.org:{server.port}/"

    sender.handle_request(request(url)).close()
    with pytest.raises(ImageRefused, match=r"169\.254\.169\.254"):
        sender.handle_request(request(url))


@pytest.mark.parametrize("missing", [SCOPE, DEADLINE])
def test_guarded_transport_refuses_a_request_without_limits(
    server: WebServer, missing: str
) -> None:
    unlimited = request(server.url)
    del unlimited.extensions[missing]

    with pytest.raises(KeyError):
        transport().handle_request(unlimited)
    assert server.seen == []


def test_guarded_transport_reports_a_refused_connection_as_a_transport_error() -> None:
    with running_web_server() as server:
        url = server.url

    with pytest.raises(httpx.TransportError):
        transport().handle_request(request(url))


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
def test_guarded_transport_reports_broken_http_as_a_transport_error(
    server: WebServer, raw: bytes
) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    server.route("/", respond)

    with (
        pytest.raises(httpx.TransportError),
        closing(transport().handle_request(request(server.url))) as response,
    ):
        list(response.iter_raw())


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


def test_guarded_transport_checks_a_certificate_against_the_name(
    tls_server: WebServer, certificate: Path
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    sender = transport(trusted=trusting)

    named = request(f"https://a.test:{tls_server.port}/a")
    with closing(sender.handle_request(named)) as response:
        assert b"".join(response.iter_raw()) == b"secret"
    with pytest.raises(httpx.TransportError, match="Hostname mismatch"):
        sender.handle_request(request(f"https://b.test:{tls_server.port}/a"))


def test_guarded_transport_refuses_a_certificate_that_nobody_vouches_for(
    tls_server: WebServer,
) -> None:
    with pytest.raises(httpx.TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        transport().handle_request(request(f"https://a.test:{tls_server.port}/a"))
