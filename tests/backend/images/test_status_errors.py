"""What a status means, in the words of who must act."""

from http.server import BaseHTTPRequestHandler

import pytest

from backend.errors import (
    ImageError,
    ImageMaybeDeleted,
    ImageNotFound,
    ImageUnauthorized,
    ImageUnreadable,
)
from backend.images.fetcher import ImageFetcher
from backend.images.status_errors import name_image
from backend.types import LabelStudioAccess
from tests.fetching import NOWHERE
from tests.web_server import WebServer, send


def test_fetch_says_what_to_do_about_a_refused_token(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/upload/1/a.png", status=401)

    with pytest.raises(
        ImageUnauthorized,
        match=r"status 401.*not accepted.*LABEL_STUDIO_API_KEY.*legacy tokens",
    ):
        fetcher.fetch("/data/upload/1/a.png", access=access)


def test_fetch_says_that_no_token_is_set(
    fetcher: ImageFetcher, label_studio: WebServer
) -> None:
    label_studio.serve("/data/upload/1/a.png", status=401)
    access = LabelStudioAccess(url=label_studio.url, from_environment=True)

    with pytest.raises(ImageUnauthorized, match="no token is set"):
        fetcher.fetch("/data/upload/1/a.png", access=access)


def test_fetch_says_that_another_host_got_no_token(
    fetcher: ImageFetcher, foreign: WebServer, access: LabelStudioAccess
) -> None:
    url = foreign.serve("/a.png", status=403)

    with pytest.raises(ImageUnauthorized, match="No token is sent there"):
        fetcher.fetch(url, access=access)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ImageUnauthorized),
        (403, ImageUnauthorized),
        (404, ImageNotFound),
        (500, ImageError),
    ],
)
def test_fetch_says_where_label_studio_has_images_when_a_task_names_another_page(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    status: int,
    error: type[ImageError],
) -> None:
    label_studio.serve("/api/tasks/1/", status=status)

    with pytest.raises(
        error, match=rf"/api/tasks/1/ .*status {status}.*/data/upload/.*only there is"
    ) as caught:
        fetcher.fetch("/api/tasks/1/", access=access)

    assert "LABEL_STUDIO_API_KEY" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_fetch_quotes_what_a_refusing_host_says_instead_of_guessing(
    fetcher: ImageFetcher, foreign: WebServer, status: int
) -> None:
    url = foreign.serve("/a.png", b"<p>Please set a <b>user-agent</b>\n", status=status)

    with pytest.raises(ImageError) as caught:
        fetcher.fetch(url, access=NOWHERE)

    message = str(caught.value)
    assert f"status {status}" in message
    assert ' The host says: "Please set a user-agent".' in message
    assert "oken" not in message
    assert "signed" not in message


def test_fetch_quotes_a_label_studio_that_it_does_not_know_for_one(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    url = foreign.serve("/a.png", b'{"detail":"No credentials."}', status=401)

    with pytest.raises(
        ImageUnauthorized,
        match=r'"No credentials\."\. If this is Label Studio, s',
    ):
        fetcher.fetch(url, access=NOWHERE)


def test_fetch_quotes_no_secret_that_a_host_gives_back(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    def echo(handler: BaseHTTPRequestHandler) -> None:
        told = f"no {handler.path} for {handler.headers['Authorization']}"
        send(handler, told.encode(), status=403)

    foreign.route("/a.png", echo)
    address = foreign.url.replace("//", "//me:s3cret@") + "/a.png?sig=s3cret"

    with pytest.raises(ImageUnauthorized) as caught:
        fetcher.fetch(address, access=NOWHERE)

    message = str(caught.value)
    assert 'says: "no /a.png?\N{HORIZONTAL ELLIPSIS} for Basic ' in message
    assert "s3cret" not in message
    assert "bWU6czNjcmV0" not in message


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


def test_fetch_tells_a_login_page_from_an_image(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/user/login/", b"<!DOCTYPE html><form>")
    label_studio.redirect(
        "/data/upload/1/a.png", "/user/login/?next=/data/upload/1/a.png"
    )

    with pytest.raises(ImageUnreadable, match=r"web page.*LABEL_STUDIO_API_KEY"):
        fetcher.fetch("/data/upload/1/a.png", access=access)


@pytest.mark.parametrize(
    ("address", "path", "status", "error", "message"),
    [
        pytest.param(
            "/data/upload/1/a.png",
            "/data/upload/1/a.png",
            403,
            ImageUnauthorized,
            "the project.*LABEL_STUDIO_API_KEY",
            id="not-a-member",
        ),
        pytest.param(
            "/data/upload/1/a.png",
            "/data/upload/1/a.png",
            404,
            ImageNotFound,
            "LABEL_STUDIO_URL has the sub-path",
            id="upload-missing",
        ),
        pytest.param(
            "/data/upload/1/a.png",
            "/data/upload/1/a.png",
            500,
            ImageMaybeDeleted,
            "upload that was deleted",
            id="upload-deleted",
        ),
        pytest.param(
            "/data/local-files/?d=d/x%201.png",
            "/data/local-files/",
            403,
            ImageUnauthorized,
            r"file 'd/x 1\.png'.*LOCAL_FILES_SERVING_ENABLED.*LOCAL_FILES_DOCUMENT_ROO",
            id="local-files-off",
        ),
        pytest.param(
            "/data/local-files/?d=d/x%201.png",
            "/data/local-files/",
            404,
            ImageNotFound,
            r"file 'd/x 1\.png'.*Local Files source storage.*LOCAL_FILES_DOCUMENT_ROOT",
            id="local-file-missing",
        ),
        pytest.param(
            "s3://box/d/a b.png?x",
            "/tasks/7/presign/",
            404,
            ImageNotFound,
            r"^s3://box/d/a b\.png .*source storage of 's3://box'.*Cloud Storage",
            id="no-storage",
        ),
        pytest.param(
            "gs://box/a.png",
            "/tasks/7/presign/",
            403,
            ImageUnauthorized,
            "^gs://box/a.png .*does not see the project",
            id="not-a-member-of-the-storage's-project",
        ),
        pytest.param(
            "azure-blob://box/a.png",
            "/tasks/7/presign/",
            424,
            ImageError,
            "^azure-blob://box/a.png .*Label Studio itself.*keys of that storage",
            id="proxied-storage-fails",
        ),
    ],
)
def test_fetch_says_what_to_change_in_label_studio(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    address: str,
    path: str,
    status: int,
    error: type[ImageError],
    message: str,
) -> None:
    label_studio.serve(path, status=status)

    with pytest.raises(error, match=message):
        fetcher.fetch(address, access=access, task_id=7)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (403, ImageUnauthorized, r"signed the address.*keys.*'s3://box'.*clocks"),
        (404, ImageNotFound, r"Check that the file is in 's3://box'"),
        (503, ImageError, "answered with status 503"),
    ],
)
def test_fetch_says_what_is_wrong_with_a_bucket_behind_a_signed_address(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    foreign: WebServer,
    access: LabelStudioAccess,
    status: int,
    error: type[ImageError],
    message: str,
) -> None:
    signed = foreign.serve("/box/a.png", status=status)
    label_studio.redirect("/tasks/7/presign/", f"{signed}?sig=s3cret", 303)

    with pytest.raises(error, match=message) as caught:
        fetcher.fetch("s3://box/a.png", access=access, task_id=7)

    assert f"{foreign.url}/box/a.png" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_name_image_cuts_the_path_of_a_local_file() -> None:
    name = name_image("/data/local-files/?d=" + "x" * 5000, NOWHERE)

    assert name.endswith("xxx...')")
    assert len(name) < 200
