import contextlib
import hashlib
import io
import logging
import threading
import traceback
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.errors import ImageError, ImageRefused, ImageTooLarge, ImageUnreadable
from backend.http import Response
from backend.images.fetcher import ImageFetcher
from backend.types import LabelStudioAccess
from tests.examples import at_most
from tests.fetching import NOWHERE, PNG, png
from tests.web_server import WebServer, send


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


def test_fetch_refuses_too_many_pixels_and_names_the_address(
    label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/a.png", PNG)
    fetcher = ImageFetcher(max_pixels=23)

    with pytest.raises(ImageTooLarge, match=r"/data/a\.png: .*6 x 4; the limit is 23"):
        fetcher.fetch("/data/a.png?x=secret", access=access)


def test_fetch_refuses_a_format_that_is_not_allowed_and_names_the_address(
    label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/a.png", PNG)
    fetcher = ImageFetcher(formats=["jpeg", "WEBP"])

    with pytest.raises(
        ImageUnreadable,
        match=r"^/data/a\.png: The image is a PNG file; IMAGE_FORMATS allows JPEG, WE",
    ):
        fetcher.fetch("/data/a.png?x=secret", access=access)


def test_fetcher_refuses_formats_that_nobody_can_read() -> None:
    with pytest.raises(ValueError, match=r"'SVG' is no format .* known are JPEG, PNG"):
        ImageFetcher(formats=["SVG"])


def test_fetch_refuses_half_a_character(fetcher: ImageFetcher) -> None:
    with pytest.raises(ImageRefused, match="half a character"):
        fetcher.fetch("http://a.org/\ud800.png", access=NOWHERE)


@settings(
    max_examples=at_most(150), deadline=None, suppress_health_check=list(HealthCheck)
)
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


def test_fetch_takes_a_jpeg_that_ends_early_and_says_so(
    fetcher: ImageFetcher, foreign: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (255, 0, 0)).save(file, "JPEG")
    whole = foreign.serve("/whole.jpg", file.getvalue())
    cut_off = foreign.serve("/cut.jpg?sig=s3cret", file.getvalue()[:-10])
    foreign.serve("/cut.jpg", file.getvalue()[:-10])

    for address in (whole, cut_off):
        assert fetcher.fetch(address, access=NOWHERE).pixels.shape == (48, 64, 3)

    (line,) = [record.getMessage() for record in caplog.records]
    assert "/cut.jpg" in line
    assert "s3cret" not in line
    assert "The file ends before its image does. What is there is used" in line


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 500])
def test_messages_and_logs_hold_no_secret(
    fetcher: ImageFetcher,
    foreign: WebServer,
    label_studio: WebServer,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
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


def test_logs_hold_no_signature_of_a_redirect(
    fetcher: ImageFetcher,
    foreign: WebServer,
    label_studio: WebServer,
    access: LabelStudioAccess,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    signed = foreign.serve("/a.png", PNG) + "?sig=s3cret"
    label_studio.redirect("/tasks/7/presign/", signed, 303)

    fetcher.fetch("s3://box/a.png", access=access, task_id=7)

    assert foreign.seen[0].path.endswith("s3cret")
    assert "s3cret" not in caplog.text
    assert "legacy" not in caplog.text


def bytes_held_by(error: BaseException | None) -> int:
    """Size of the largest local variable of bytes in an error's stacks."""
    largest = 0
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for value in frame.f_locals.values():
                if isinstance(value, bytes | bytearray | Response):
                    body = value.body if isinstance(value, Response) else value
                    largest = max(largest, len(body))
        error = error.__cause__ or error.__context__
    return largest


@pytest.mark.parametrize(
    ("size", "announced"),
    [(50_000, 50_000), (150_000, None), (50_000, 60_000)],
    ids=["no-image", "too-large", "incomplete"],
)
def test_refusals_do_not_hold_on_to_what_was_read(
    fetcher: ImageFetcher, foreign: WebServer, size: int, announced: int | None
) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced is not None:
            handler.send_header("Content-Length", str(announced))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(PNG[:40] + b"x" * size)
        handler.close_connection = True

    foreign.route("/a.png", respond)

    try:
        fetcher.fetch(foreign.url + "/a.png", access=NOWHERE)
    except ImageError as e:
        refusal = e

    assert bytes_held_by(refusal) < 1000


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
