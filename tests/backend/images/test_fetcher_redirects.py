"""Tokens, redirects and sub-paths: what is sent to whom."""

import base64
from urllib.parse import parse_qs

import pytest

from backend.errors import ImageError, ImageNotFound
from backend.images.fetcher import ImageFetcher
from backend.types import LabelStudioAccess
from tests.fetching import PNG
from tests.web_server import WebServer


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
    url = label_studio.serve("/data/local-files/", PNG)

    fetcher.fetch(f"{url}?d=x%201.png", access=access)
    fetcher.fetch(url.replace("//", "//me:word@"), access=access)

    assert label_studio.seen[0].path == "/data/local-files/?d=x%201.png"
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
    label_studio.serve("/data/upload/2/a.png", PNG)
    label_studio.redirect("/data/upload/1/a.png", "../2/a.png")

    fetcher.fetch("/data/upload/1/a.png", access=access)

    assert label_studio.seen[1].headers["authorization"] == "Token legacy"


@pytest.mark.parametrize(
    "path", ["/api/tasks/1/", "/api/tasks/1/data/upload/x", "/tasks/1", "/static/a.png"]
)
def test_fetch_asks_other_pages_of_label_studio_without_the_token(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    path: str,
) -> None:
    url = label_studio.serve(path, PNG)
    label_studio.redirect("/data/upload/1/a.png", path)

    for address in (path, url, "/data/upload/1/a.png"):
        fetcher.fetch(address, access=access)

    sent = {
        request.path: request.headers.get("authorization")
        for request in label_studio.seen
    }
    assert sent == {path: None, "/data/upload/1/a.png": "Token legacy"}


def test_fetch_exchanges_no_token_for_a_page_that_gets_none(
    fetcher: ImageFetcher, label_studio: WebServer
) -> None:
    label_studio.serve("/api/tasks/1/", PNG)
    claims = base64.urlsafe_b64encode(b'{"token_type": "refresh"}').decode()
    access = LabelStudioAccess(
        url=label_studio.url, token=f"a.{claims}.b", from_environment=True
    )

    fetcher.fetch("/api/tasks/1/", access=access)

    assert [request.method for request in label_studio.seen] == ["GET"]


def test_fetch_sends_no_cookie_back(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    url = label_studio.serve("/a.png", PNG, headers={"Set-Cookie": "sessionid=1"})

    for _ in range(2):
        fetcher.fetch(url, access=access)

    assert "cookie" not in label_studio.seen[1].headers


@pytest.mark.parametrize("most", [0, 1, 5])
def test_fetch_follows_as_many_redirects_as_it_may_and_no_more(
    label_studio: WebServer, access: LabelStudioAccess, most: int
) -> None:
    fetcher = ImageFetcher(timeout_s=5, max_redirects=most)
    label_studio.serve("/0", PNG)
    for step in range(1, most + 2):
        label_studio.redirect(f"/{step}", f"/{step - 1}")

    assert fetcher.fetch(f"/{most}", access=access).pixels.shape == (4, 6, 3)
    with pytest.raises(
        ImageError, match=f"more than {most} redirects.*IMAGE_MAX_REDIRECTS"
    ):
        fetcher.fetch(f"/{most + 1}", access=access)
    assert len(label_studio.seen) == 2 * (most + 1)


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


BELOW = "/label-studio"


@pytest.fixture
def below(label_studio: WebServer) -> LabelStudioAccess:
    """Label Studio below a sub-path, of a host that serves other programs too."""
    return LabelStudioAccess(
        url=label_studio.url + BELOW, token="t", from_environment=True
    )


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=a%20b.png",
        "/label-studio/data/local-files/?d=a%20b.png",
        "{own}/label-studio/data/local-files/?d=a%20b.png",
        "http://localhost:1/label-studio/data/local-files/?d=a%20b.png",
        "http://localhost:1/data/local-files/?d=a%20b.png",
    ],
    ids=["bare", "prefixed", "absolute", "loopback", "loopback-bare"],
)
def test_fetch_reads_local_files_below_a_sub_path(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    below: LabelStudioAccess,
    address: str,
) -> None:
    label_studio.serve(f"{BELOW}/data/local-files/", PNG)

    fetcher.fetch(address.format(own=label_studio.url), access=below)

    (seen,) = label_studio.seen
    assert seen.path == f"{BELOW}/data/local-files/?d=a%20b.png"
    assert seen.headers["authorization"] == "Token t"


def test_fetch_opens_cloud_storage_below_a_sub_path(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    foreign: WebServer,
    below: LabelStudioAccess,
) -> None:
    signed = foreign.serve("/signed.png", PNG)
    label_studio.redirect(f"{BELOW}/tasks/7/presign/", signed, 303)

    fetcher.fetch("s3://bucket/a.png", access=below, task_id=7)

    assert label_studio.seen[0].headers["authorization"] == "Token t"
    assert "authorization" not in foreign.seen[0].headers


def test_fetch_goes_without_the_token_to_another_program_of_the_same_host(
    fetcher: ImageFetcher, label_studio: WebServer, below: LabelStudioAccess
) -> None:
    outside = label_studio.serve("/wiki/a.png", PNG)
    hidden = label_studio.serve(f"{BELOW}/%2e%2e/wiki/a.png", PNG)
    label_studio.redirect(f"{BELOW}/data/upload/1/a.png", "/wiki/a.png")

    fetcher.fetch("/data/upload/1/a.png", access=below)
    fetcher.fetch(outside, access=below)
    fetcher.fetch(hidden, access=below)

    paths = [request.path for request in label_studio.seen]
    sent = ["authorization" in request.headers for request in label_studio.seen]
    assert paths[1:3] == ["/wiki/a.png", "/wiki/a.png"]
    assert sent == [True, False, False, False]


def test_fetch_finds_an_upload_with_a_sub_path_that_only_browsers_see(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/upload/1/a.png", PNG)

    fetcher.fetch("/label-studio/data/upload/1/a.png", access=access)

    paths = [request.path for request in label_studio.seen]
    assert paths == ["/label-studio/data/upload/1/a.png", "/data/upload/1/a.png"]


def test_fetch_asks_label_studio_where_it_is_reached_for_files_at_its_public_name(
    fetcher: ImageFetcher, label_studio: WebServer
) -> None:
    label_studio.serve("/data/local-files/", PNG)
    access = LabelStudioAccess(
        url=label_studio.url,
        token="t",
        from_environment=True,
        external_url="https://label.my.org",
    )

    fetcher.fetch("https://label.my.org/data/local-files/?d=a.png", access=access)

    (seen,) = label_studio.seen
    assert seen.path == "/data/local-files/?d=a.png"
    assert seen.headers["authorization"] == "Token t"


def test_fetch_sends_no_token_to_the_name_that_label_studio_gave_itself(
    fetcher: ImageFetcher, label_studio: WebServer, foreign: WebServer
) -> None:
    access = LabelStudioAccess(
        url=label_studio.url, token="t", from_environment=True, external_url=foreign.url
    )

    fetcher.fetch(foreign.serve("/cat.png", PNG), access=access)

    assert "authorization" not in foreign.seen[0].headers


@pytest.mark.parametrize("status", [400, 404])
def test_fetch_finds_an_upload_by_its_bare_name_wherever_it_is_kept(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    status: int,
) -> None:
    label_studio.serve("/storage-data/uploaded/", status=status)
    label_studio.serve("/data/upload/1/a.png", PNG)

    fetcher.fetch("upload/1/a.png", access=access)
    label_studio.serve("/storage-data/uploaded/", PNG)
    fetcher.fetch("upload/1/a.png", access=access)

    assert [request.path for request in label_studio.seen] == [
        "/storage-data/uploaded/?filepath=upload/1/a.png",
        "/data/upload/1/a.png",
        "/storage-data/uploaded/?filepath=upload/1/a.png",
    ]


def test_fetch_tells_the_refusal_of_the_last_url_it_tried(
    fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    with pytest.raises(ImageNotFound, match=r"^/ls/data/upload/1/a\.png is not there"):
        fetcher.fetch("/ls/data/upload/1/a.png", access=access)
    assert len(label_studio.seen) == 2


@pytest.mark.parametrize(
    "key", ["ä b.png", "a?b.png", "a#b.png", "100%25.png"], ids=ascii
)
def test_fetch_hands_every_character_of_a_cloud_uri_to_label_studio(
    fetcher: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    key: str,
) -> None:
    label_studio.serve("/tasks/7/presign/", PNG)

    fetcher.fetch(f"azure-blob://box/{key}", access=access, task_id=7)

    query = parse_qs(label_studio.seen[0].path.partition("?")[2])
    # As Label Studio's own view decodes it.
    assert base64.urlsafe_b64decode(query["fileuri"][0]).decode() == (
        f"azure-blob://box/{key}"
    )
