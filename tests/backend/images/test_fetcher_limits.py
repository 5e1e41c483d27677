"""Limits of one exchange, seen through the fetcher: bytes, time, broken servers."""

import itertools
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from backend.errors import ImageError, ImageTooLarge
from backend.images import ImageFetcher
from backend.types import LabelStudioAccess
from tests.clock import no_longer_than
from tests.fetching import NOWHERE, PNG
from tests.web_server import WebServer, running_web_server, send


def test_fetch_stops_at_the_announced_length(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    url = foreign.serve("/a.png", headers={"Content-Length": "100001"})

    with pytest.raises(ImageTooLarge, match=r"100,001 bytes.*100,000.*IMAGE_MAX_BYTES"):
        fetcher.fetch(url, access=NOWHERE)


def test_fetch_takes_exactly_the_limit_of_bytes(foreign: WebServer) -> None:
    url = foreign.serve("/a.png", PNG)
    hosts = ["127.0.0.1"]
    enough = ImageFetcher(max_bytes=len(PNG), image_hosts=hosts)
    short = ImageFetcher(max_bytes=len(PNG) - 1, image_hosts=hosts)

    assert enough.fetch(url, access=NOWHERE).pixels.shape == (4, 6, 3)
    with pytest.raises(ImageTooLarge):
        short.fetch(url, access=NOWHERE)


def test_fetch_stops_a_stream_without_length_at_the_limit(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not foreign.stopped.is_set():
            handler.wfile.write(bytes(10_000))

    foreign.route("/a.png", endless)

    with pytest.raises(ImageTooLarge, match="more than 100,000 bytes"):
        fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)


@pytest.mark.parametrize("encoding", ["br", "GZIP", "aws-chunked, gzip"])
def test_fetch_refuses_compression_that_it_did_not_ask_for(
    fetcher: ImageFetcher, foreign: WebServer, encoding: str
) -> None:
    url = foreign.serve("/a.png", PNG, headers={"Content-Encoding": encoding})

    with pytest.raises(ImageError, match=f"content encoding '{encoding.lower()}'"):
        fetcher.fetch(url, access=NOWHERE)
    assert foreign.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", "aws-chunked", "utf-8", ""])
def test_fetch_passes_over_content_encodings_that_browsers_pass_over(
    fetcher: ImageFetcher, foreign: WebServer, encoding: str
) -> None:
    url = foreign.serve("/a.png", PNG, headers={"Content-Encoding": encoding})

    assert fetcher.fetch(url, access=NOWHERE).pixels.shape == (4, 6, 3)


@pytest.mark.parametrize(
    "variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY", "all_proxy"]
)
def test_fetch_heeds_no_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    foreign: WebServer,
    label_studio: WebServer,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, label_studio.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    fetcher = ImageFetcher(timeout_s=5, image_hosts=["images.test"], resolve=here)
    url = foreign.serve("/a.png", PNG).replace("127.0.0.1", "images.test")

    image = fetcher.fetch(url, access=NOWHERE)
    with pytest.raises(ImageError):  # no TLS there
        fetcher.fetch(url.replace("http", "https"), access=NOWHERE)

    assert image.pixels.shape == (4, 6, 3)
    assert foreign.seen[0].headers["host"] == f"images.test:{foreign.port}"
    assert label_studio.seen == []


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def hasty_fetcher() -> ImageFetcher:
    return ImageFetcher(timeout_s=0.2, image_hosts=["127.0.0.1"])


def test_fetch_gives_up_on_a_silent_server(
    hasty_fetcher: ImageFetcher, foreign: WebServer
) -> None:
    foreign.route("/a.png", lambda handler: bool(foreign.stopped.wait(30)) and None)

    with (
        no_longer_than(10),
        pytest.raises(ImageError, match=r"within 0\.2 s.*FETCH_TIMEOUT_S"),
    ):
        hasty_fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)


def drip(server: WebServer, head: bytes, endless: bytes) -> None:
    """Let the server send `head` and then one byte after the other, for ever."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        for byte in itertools.cycle(endless):
            if server.stopped.wait(0.02):
                return
            handler.wfile.write(bytes([byte]))

    server.route("/a.png", respond)


HEADERS = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("head", "endless"),
    [
        pytest.param(b"", b"HTTP/1.1 200 OK", id="status-line"),
        pytest.param(HEADERS, b"X-Filler: 1\r\n", id="headers"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="informational"),
        pytest.param(HEADERS + b"Content-Length: 1000\r\n\r\n", b"x", id="body"),
        pytest.param(
            HEADERS + b"Transfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            id="chunks",
        ),
        pytest.param(
            HEADERS + b"Transfer-Encoding: chunked\r\n\r\n",
            b"0",
            id="length-of-a-chunk",
        ),
        pytest.param(
            HEADERS + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X-Filler: 1\r\n",
            id="trailers",
        ),
    ],
)
def test_fetch_gives_up_on_a_server_that_drips(
    hasty_fetcher: ImageFetcher, foreign: WebServer, head: bytes, endless: bytes
) -> None:
    drip(foreign, head, endless)
    started_s = time.monotonic()

    with pytest.raises(ImageError):
        hasty_fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)
    assert time.monotonic() - started_s < 2


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        pytest.param(HEADERS, b"X-Filler: 1\r\n", id="headers"),
        pytest.param(HEADERS + b"Content-Length: 1000\r\n\r\n", b"x", id="body"),
    ],
)
def test_fetch_names_the_time_limit_when_a_server_drips(
    hasty_fetcher: ImageFetcher, foreign: WebServer, head: bytes, endless: bytes
) -> None:
    drip(foreign, head, endless)

    with pytest.raises(ImageError, match=r"within 0\.2 s.*FETCH_TIMEOUT_S"):
        hasty_fetcher.fetch(f"{foreign.url}/a.png?sig=1", access=NOWHERE)


def test_fetch_gives_up_on_a_name_that_is_looked_up_for_ever() -> None:
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        done.wait(20)
        return ["127.0.0.1"]

    fetcher = ImageFetcher(timeout_s=0.2, resolve=resolve)
    started_s = time.monotonic()
    try:
        with pytest.raises(ImageError, match=r"within 0\.2 s.*FETCH_TIMEOUT_S"):
            fetcher.fetch("http://slow.org/a.png", access=NOWHERE)
    finally:
        done.set()

    assert time.monotonic() - started_s < 2


def test_fetch_spends_one_time_limit_on_all_redirects(
    hasty_fetcher: ImageFetcher, foreign: WebServer
) -> None:
    def late(target: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            foreign.stopped.wait(0.12)
            send(handler, b"", status=302, headers={"Location": target})

        return respond

    foreign.route("/1", late("/2"))
    foreign.route("/2", late("/3"))
    foreign.serve("/3", PNG)

    with pytest.raises(ImageError, match=r"/2 did not arrive within 0\.2 s"):
        hasty_fetcher.fetch(f"{foreign.url}/1", access=NOWHERE)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="hung-up"),
        pytest.param(b"nonsense\r\n\r\n", id="not-http"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", id="bad-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            id="huge-length",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", id="cut-body"),
        pytest.param(b"HTTP/1.1 302 Go\r\nLocation: \xff\xfe\r\n\r\n", id="odd-bytes"),
    ],
)
def test_fetch_turns_broken_http_into_an_image_error(
    fetcher: ImageFetcher, foreign: WebServer, raw: bytes
) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    foreign.route("/a.png", respond)

    with pytest.raises(ImageError):
        fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)


def test_fetch_turns_a_refused_connection_into_an_image_error(
    fetcher: ImageFetcher,
) -> None:
    with running_web_server() as server:
        url = server.url
    access = LabelStudioAccess(url=url, from_environment=True)

    with pytest.raises(ImageError, match=r"cannot be read: .*localhost is the"):
        fetcher.fetch("/data/a.png", access=access)
