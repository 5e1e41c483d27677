"""Local files through the fetcher: from the shared folder, or Label Studio."""

from pathlib import Path

import pytest

from backend.errors import ImageError, ImageRefused
from backend.images.fetcher import ImageFetcher
from backend.types import LabelStudioAccess
from tests.fetching import NOWHERE, PNG, png
from tests.web_server import WebServer

# What is to be hung on here would hang for ever.
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def sharing(root: Path) -> ImageFetcher:
    return ImageFetcher(timeout_s=5, max_bytes=100_000, local_files_root=root)


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=set%201/a%20b.png",
        "/data/local-files/?d=set+1/a b.png",
        "/label-studio/data/local-files/?d=set%201%2Fa%20b.png",
        "{own}/data/local-files/?d=set%201/a%20b.png",
        "http://localhost:8080/data/local-files/?d=set%201/a%20b.png",
    ],
    ids=["relative", "plus", "sub-path", "absolute", "loopback"],
)
def test_fetch_reads_a_shared_file_without_asking_label_studio(
    sharing: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    address: str,
) -> None:
    image = sharing.fetch(address.format(own=label_studio.url), access=access)

    assert image.pixels.shape == (4, 6, 3)
    assert label_studio.seen == []


def test_fetch_reads_a_shared_file_while_label_studio_is_unknown(
    sharing: ImageFetcher,
) -> None:
    image = sharing.fetch("/data/local-files/?d=set 1/a b.png", access=NOWHERE)

    assert image.pixels.shape == (4, 6, 3)


def test_fetch_asks_label_studio_for_local_files_that_are_not_shared(
    sharing: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/local-files/", png(width=9))

    image = sharing.fetch("/data/local-files/?d=set%201/c.png", access=access)

    assert image.pixels.shape == (4, 9, 3)
    assert label_studio.seen[0].path == "/data/local-files/?d=set%201/c.png"


@pytest.mark.parametrize("path", ["..%2Fsecret", "set+1/../../secret"])
def test_fetch_asks_label_studio_for_no_path_out_of_the_root(
    sharing: ImageFetcher,
    label_studio: WebServer,
    access: LabelStudioAccess,
    path: str,
) -> None:
    label_studio.serve("/data/local-files/", PNG)

    with pytest.raises(ImageRefused, match="leads out"):
        sharing.fetch(f"/data/local-files/?d={path}", access=access)
    assert label_studio.seen == []


def test_fetch_reads_no_shared_file_for_another_host(
    root: Path, foreign: WebServer, access: LabelStudioAccess
) -> None:
    foreign.serve("/data/local-files/", png(width=9))
    sharing = ImageFetcher(
        timeout_s=5,
        local_files_root=root,
        image_hosts=[f"images.test:{foreign.port}"],
        resolve=lambda *_: ["127.0.0.1"],
    )
    url = f"http://images.test:{foreign.port}/data/local-files/?d=set%201/a%20b.png"

    assert sharing.fetch(url, access=access).pixels.shape == (4, 9, 3)


def test_fetch_reads_no_shared_file_unless_told_to(
    open_fetcher: ImageFetcher, label_studio: WebServer, access: LabelStudioAccess
) -> None:
    label_studio.serve("/data/local-files/", png(width=9))

    image = open_fetcher.fetch("/data/local-files/?d=set%201/a%20b.png", access=access)

    assert image.pixels.shape == (4, 9, 3)


def test_fetch_names_a_shared_file_that_is_no_image(
    sharing: ImageFetcher, root: Path
) -> None:
    (root / "set 1" / "notes.png").write_text("These are notes.")

    with pytest.raises(ImageError, match=r"file 'set 1/notes\.png'.*not an image"):
        sharing.fetch("/data/local-files/?d=set%201/notes.png", access=NOWHERE)


def test_fetch_reads_an_empty_shared_file_as_a_broken_image(
    sharing: ImageFetcher, root: Path
) -> None:
    (root / "empty.png").touch()

    with pytest.raises(ImageError, match="0 bytes are not an image"):
        sharing.fetch("/data/local-files/?d=empty.png", access=NOWHERE)
