import base64
import hashlib
import io
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.errors import (
    ImageError,
    ImageNotFound,
    ImageRefused,
    ImageTooLarge,
    ImageUnauthorized,
    ImageUnreadable,
)
from backend.images import ImageFetcher
from backend.values import LabelStudioAccess
from tests.web_server import WebServer, running_web_server, send

NOWHERE = LabelStudioAccess(url=None)


def png(width: int = 6, height: int = 4, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(file, "PNG", **options)
    return file.getvalue()


PNG = png()


@pytest.fixture
def label_studio() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def foreign() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def access(label_studio: WebServer) -> LabelStudioAccess:
    return LabelStudioAccess(
        url=label_studio.url, token="legacy", from_environment=True
    )


@pytest.fixture
def fetcher(foreign: WebServer) -> Iterator[ImageFetcher]:
    """A fetcher for which `foreign` is an allowed host, and no other is."""
    fetcher = ImageFetcher(
        timeout_s=5, max_bytes=100_000, image_hosts=[f"127.0.0.1:{foreign.port}"]
    )
    yield fetcher
    fetcher.close()


@pytest.fixture
def open_fetcher() -> Iterator[ImageFetcher]:
    """A fetcher without IMAGE_HOSTS, as by default."""
    fetcher = ImageFetcher(timeout_s=5)
    yield fetcher
    fetcher.close()


def test_fetch_reads_an_upload_with_the_token(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/upload/1/a%20b.png", PNG)

    image = fetcher.fetch("/data/upload/1/a%20b.png", access=access)

    assert image.pixels.shape == (4, 6, 3)
    assert image.digest == hashlib.sha256(PNG).hexdigest()
    assert label_studio.seen[0].headers["authorization"] == "Token legacy"


def test_fetch_turns_an_upload_upright(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    label_studio.serve("/data/upload/1/a.png", png(exif=exif))

    image = fetcher.fetch("/data/upload/1/a.png", access=access)

    assert image.pixels.shape == (6, 4, 3)


@pytest.mark.parametrize("start", ["", "/label-studio"])
def test_fetch_reads_an_upload_below_a_sub_path(
    fetcher: ImageFetcher, label_studio: WebServer, start: str
) -> None:
    label_studio.serve("/label-studio/data/upload/1/a.png", PNG)
    access = LabelStudioAccess(
        url=f"{label_studio.url}/label-studio", token="t", from_environment=True
    )

    fetcher.fetch(f"{start}/data/upload/1/a.png", access=access)

    assert label_studio.seen[0].headers["authorization"] == "Token t"


def test_fetch_sends_the_token_to_absolute_addresses_of_label_studio(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    url = label_studio.serve("/storage/", PNG)

    fetcher.fetch(f"{url}?d=x%201.png", access=access)
    fetcher.fetch(url.replace("//", "//me:word@"), access=access)

    assert label_studio.seen[0].path == "/storage/?d=x%201.png"
    sent = [request.headers["authorization"] for request in label_studio.seen]
    assert sent == ["Token legacy", "Token legacy"]


def test_fetch_sends_no_header_without_a_token(
    fetcher: ImageFetcher, label_studio: WebServer
) -> None:
    url = label_studio.serve("/a.png", PNG)
    access = LabelStudioAccess(url=label_studio.url, from_environment=True)

    fetcher.fetch(url, access=access)

    assert "authorization" not in label_studio.seen[0].headers


def test_fetch_sends_no_token_to_another_host(
    fetcher: ImageFetcher, foreign: WebServer, access: LabelStudioAccess
) -> None:
    fetcher.fetch(foreign.serve("/a.png", PNG), access=access)

    assert "authorization" not in foreign.seen[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fetch_leaves_the_token_behind_when_redirected_to_another_host(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    foreign: WebServer,
    access: LabelStudioAccess,
    status: int,
) -> None:
    signed = foreign.serve("/signed.png", PNG) + "?sig=1"
    label_studio.redirect("/tasks/7/presign/", signed, status)

    image = fetcher.fetch("s3://bucket/a.png", access=access, task_id=7)

    assert image.pixels.shape == (4, 6, 3)
    assert label_studio.seen[0].headers["authorization"] == "Token legacy"
    assert foreign.seen[0].path == "/signed.png?sig=1"
    assert "authorization" not in foreign.seen[0].headers


def test_fetch_keeps_the_token_when_redirected_within_label_studio(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/new/a.png", PNG)
    label_studio.redirect("/data/a.png", "../new/a.png")

    fetcher.fetch("/data/a.png", access=access)

    assert label_studio.seen[1].headers["authorization"] == "Token legacy"


def test_fetch_sends_no_cookie_back(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    url = label_studio.serve("/a.png", PNG, headers={"Set-Cookie": "sessionid=1"})

    for _ in range(2):
        fetcher.fetch(url, access=access)

    assert "cookie" not in label_studio.seen[1].headers


def test_fetch_follows_five_redirects_and_refuses_six(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/0", PNG)
    for step in range(1, 7):
        label_studio.redirect(f"/{step}", f"/{step - 1}")

    assert fetcher.fetch("/5", access=access).pixels.shape == (4, 6, 3)
    with pytest.raises(ImageError, match="more than 5 redirects"):
        fetcher.fetch("/6", access=access)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://host/a.png", "http://[::1/", "http://xn--/"],
)
def test_fetch_refuses_redirects_to_what_is_no_web_address(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    location: str,
) -> None:
    label_studio.redirect("/a.png", location)

    with pytest.raises(ImageError):
        fetcher.fetch("/a.png", access=access)
    assert len(label_studio.seen) == 1


def test_fetch_refuses_a_redirect_to_nowhere(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/a.png", status=302)

    with pytest.raises(ImageError, match="without an address to go on to"):
        fetcher.fetch("/a.png", access=access)


def test_fetch_refuses_a_private_address(
    open_fetcher: ImageFetcher, foreign: WebServer, access: LabelStudioAccess
) -> None:
    url = foreign.serve("/a.png", PNG)

    with pytest.raises(ImageRefused, match=r"127\.0\.0\.1.*IMAGE_HOSTS"):
        open_fetcher.fetch(url, access=access)
    with pytest.raises(ImageRefused, match="IMAGE_HOSTS"):
        open_fetcher.fetch(url.replace("127.0.0.1", "localhost"), access=access)
    assert foreign.seen == []


def test_fetch_refuses_a_redirect_to_a_private_address(
    open_fetcher: ImageFetcher,
    label_studio: WebServer,
    foreign: WebServer,
    access: LabelStudioAccess,
) -> None:
    label_studio.redirect("/a.png", foreign.serve("/a.png", PNG))

    with pytest.raises(ImageRefused, match=r"127\.0\.0\.1"):
        open_fetcher.fetch("/a.png", access=access)
    assert foreign.seen == []


def test_fetch_refuses_a_redirect_to_a_host_that_is_not_listed(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    url = foreign.redirect("/a.png", "https://example.org/a.png")

    with pytest.raises(ImageRefused, match=r"'example\.org'.*not among IMAGE_HOSTS"):
        fetcher.fetch(url, access=NOWHERE)


def test_fetch_reads_a_learned_label_studio_with_its_own_token_at_the_checked_address(
    label_studio: WebServer,
) -> None:
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    fetcher = ImageFetcher(timeout_s=5, resolve=resolve)
    label_studio.serve("/data/a.png", PNG)
    url = f"http://ls.test:{label_studio.port}"

    fetcher.fetch("/data/a.png", access=LabelStudioAccess(url=url, token="learned"))
    fetcher.close()

    (request,) = label_studio.seen
    assert request.headers["host"] == f"ls.test:{label_studio.port}"
    assert request.headers["authorization"] == "Token learned"
    assert lookups == ["ls.test"]


@pytest.mark.parametrize(
    ("token", "address"),
    [
        pytest.param(None, "127.0.0.1", id="private-without-token"),
        pytest.param("t", "169.254.169.254", id="metadata-with-token"),
    ],
)
def test_fetch_refuses_a_learned_label_studio(token: str | None, address: str) -> None:
    fetcher = ImageFetcher(resolve=lambda *_: [address])
    access = LabelStudioAccess(url="http://ls.test:8080", token=token)

    with pytest.raises(ImageRefused, match=address):
        fetcher.fetch("/data/a.png", access=access)
    fetcher.close()


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
    enough.close()
    short.close()


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


def test_fetch_refuses_compression_that_it_did_not_ask_for(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    url = foreign.serve("/a.png", PNG, headers={"Content-Encoding": "br"})

    with pytest.raises(ImageError, match="content encoding 'br'"):
        fetcher.fetch(url, access=NOWHERE)
    assert foreign.seen[0].headers["accept-encoding"] == "identity"


@pytest.fixture
def hasty_fetcher() -> Iterator[ImageFetcher]:
    fetcher = ImageFetcher(timeout_s=0.2, image_hosts=["127.0.0.1"])
    yield fetcher
    fetcher.close()


def test_fetch_gives_up_on_a_silent_server(
    hasty_fetcher: ImageFetcher, foreign: WebServer
) -> None:
    foreign.route("/a.png", lambda handler: bool(foreign.stopped.wait(5)) and None)

    with pytest.raises(ImageError, match=r"within 0\.2 s.*FETCH_TIMEOUT_S"):
        hasty_fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)


def test_fetch_gives_up_on_a_dripping_server(
    hasty_fetcher: ImageFetcher, foreign: WebServer
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not foreign.stopped.wait(0.05):
            handler.wfile.write(b"x")

    foreign.route("/a.png", drip)
    started_s = time.monotonic()

    with pytest.raises(ImageError, match=r"within 0\.2 s"):
        hasty_fetcher.fetch(f"{foreign.url}/a.png", access=NOWHERE)
    assert time.monotonic() - started_s < 2


def test_fetch_refuses_too_many_pixels_and_names_the_address(
    label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/a.png", PNG)
    fetcher = ImageFetcher(max_pixels=23)

    with pytest.raises(ImageTooLarge, match=r"/data/a\.png: .*6 x 4; the limit is 23"):
        fetcher.fetch("/data/a.png?x=secret", access=access)
    fetcher.close()


def test_fetch_tells_a_login_page_from_an_image(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/user/login/", b"<!DOCTYPE html><form>")
    label_studio.redirect("/data/a.png", "/user/login/?next=/data/a.png")

    with pytest.raises(ImageUnreadable, match=r"web page.*LABEL_STUDIO_API_KEY"):
        fetcher.fetch("/data/a.png", access=access)


@pytest.mark.parametrize("status", [401, 403])
def test_fetch_says_what_to_do_about_a_refused_token(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    status: int,
) -> None:
    label_studio.serve("/data/a.png", status=status)

    with pytest.raises(
        ImageUnauthorized,
        match=f"status {status}.*not accepted.*LABEL_STUDIO_API_KEY.*legacy tokens",
    ):
        fetcher.fetch("/data/a.png", access=access)


def test_fetch_says_that_no_token_is_set(
    fetcher: ImageFetcher, label_studio: WebServer
) -> None:
    label_studio.serve("/data/a.png", status=401)
    access = LabelStudioAccess(url=label_studio.url, from_environment=True)

    with pytest.raises(ImageUnauthorized, match="no token is set"):
        fetcher.fetch("/data/a.png", access=access)


def test_fetch_says_that_another_host_got_no_token(
    fetcher: ImageFetcher, foreign: WebServer, access: LabelStudioAccess
) -> None:
    url = foreign.serve("/a.png", status=403)

    with pytest.raises(ImageUnauthorized, match="No token is sent there"):
        fetcher.fetch(url, access=access)


@pytest.mark.parametrize("status", [404, 410])
def test_fetch_reports_what_is_not_there(
    fetcher: ImageFetcher, foreign: WebServer, status: int
) -> None:
    url = foreign.serve("/a.png", status=status)

    with pytest.raises(ImageNotFound, match=f"status {status}"):
        fetcher.fetch(url, access=NOWHERE)


@pytest.mark.parametrize("status", [300, 304, 400, 418, 429, 500, 503])
def test_fetch_reports_any_other_status(
    fetcher: ImageFetcher, foreign: WebServer, status: int
) -> None:
    url = foreign.serve("/a.png", status=status)

    with pytest.raises(ImageError, match=f"status {status}"):
        fetcher.fetch(url, access=NOWHERE)


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


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:image/png;Base64," + base64.b64encode(PNG).decode().rstrip("="),
        "data:image/png;name=a.png;base64,%20" + base64.encodebytes(PNG).decode(),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
    ids=["base64", "capitals-no-padding", "lines", "percent"],
)
def test_fetch_reads_data_uris(fetcher: ImageFetcher, uri: str) -> None:
    image = fetcher.fetch(uri, access=NOWHERE)

    assert image.pixels.shape == (4, 6, 3)
    np.testing.assert_array_equal(image.pixels[0, 0], [255, 0, 0])
    assert image.digest == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        pytest.param("data:text/html,<b>", ImageRefused, "of an image", id="html"),
        pytest.param("data:,x", ImageRefused, "of an image", id="no-type"),
        pytest.param("data:image/png", ImageRefused, "of an image", id="no-comma"),
        pytest.param(
            "data:image/png;base64,*", ImageUnreadable, "valid base64", id="stars"
        ),
        pytest.param(
            "data:image/png;base64,A", ImageUnreadable, "valid base64", id="cut"
        ),
        pytest.param(
            "data:image/svg+xml,<svg/>", ImageUnreadable, "known format", id="svg"
        ),
        pytest.param(
            "data:image/png;base64," + "A" * 400_000,
            ImageTooLarge,
            "300,000 bytes; the limit is 100,000",
            id="large",
        ),
    ],
)
def test_fetch_refuses_data_uris_without_repeating_them(
    fetcher: ImageFetcher, uri: str, error: type[ImageError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        fetcher.fetch(uri, access=NOWHERE)
    assert len(str(caught.value)) < 400


def test_fetch_refuses_half_a_character(fetcher: ImageFetcher) -> None:
    with pytest.raises(ImageRefused, match="half a character"):
        fetcher.fetch("http://a.org/\ud800.png", access=NOWHERE)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(
        ["", "http://", "http://a.org/", "data:", "data:image/png;base64,"]
    ),
    st.text(alphabet=st.characters()),
)
def test_fetch_answers_any_address_with_an_image_error(start: str, text: str) -> None:
    with pytest.raises(ImageError):
        UNCONNECTED.fetch(start + text, access=NOWHERE)


UNCONNECTED = ImageFetcher(resolve=lambda *_: [])


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 500])
def test_messages_and_logs_hold_no_secret(
    fetcher: ImageFetcher,
    foreign: WebServer,
    label_studio: WebServer,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    caplog.set_level(logging.INFO)
    access = LabelStudioAccess(
        url=label_studio.url, token="s3cret", from_environment=True
    )
    for server in (foreign, label_studio):
        address = server.serve("/a.png", b"no image", status=status)
        address = address.replace("//", "//me:s3cret@") + "?sig=s3cret"

        with pytest.raises(ImageError) as caught:
            fetcher.fetch(address, access=access)

        assert "s3cret" not in str(caught.value)
        assert "/a.png" in str(caught.value)
    assert "s3cret" not in caplog.text


def test_fetch_serves_many_threads_at_once(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    together = threading.Barrier(8, timeout=5)

    def respond(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        send(handler, png(width=int(handler.path[1:]), height=3))

    shapes: dict[int, tuple[int, ...]] = {}

    def work(width: int) -> None:
        shapes[width] = fetcher.fetch(f"/{width}", access=access).pixels.shape

    for width in range(1, 9):
        label_studio.route(f"/{width}", respond)
    threads = [threading.Thread(target=work, args=(width,)) for width in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert shapes == {width: (3, width, 3) for width in range(1, 9)}


def test_fetcher_refuses_image_hosts_that_are_no_hosts() -> None:
    with pytest.raises(ValueError, match="is not a host"):
        ImageFetcher(image_hosts=["http://a.org"])
