"""Files that are wanted again at the next click."""

import pytest

from backend.errors import ImageError
from backend.images import ImageFetcher
from backend.images.files import RecentFiles
from backend.types import LabelStudioAccess, Turn
from tests.clock import Clock
from tests.fakes import encoded, striped
from tests.web_server import WebServer, running_web_server

PICTURE = encoded(striped("red", "blue"))


def fetch(
    fetcher: ImageFetcher,
    server: WebServer,
    *,
    is_urgent: bool = True,
    max_age_s: float = 60,
    token: str = "t",
) -> None:
    access = LabelStudioAccess(url=server.url, token=token, from_environment=True)
    turn = Turn(is_urgent=is_urgent)
    address = "/data/upload/1/a.png"
    fetcher.fetch(address, access=access, turn=turn, max_age_s=max_age_s).release()


def test_files_are_bounded_in_bytes_and_the_latest() -> None:
    files = RecentFiles(10, Clock())
    files.put("a", b"1234")
    files.put("b", b"1234")
    files.get("a", 9)
    files.put("c", b"1234")
    files.put("large", b"12345678901")

    assert [files.get(name, 9) for name in ("a", "b", "c", "large")] == [
        *(b"1234", None, b"1234", None)
    ]


def test_a_file_put_again_takes_its_room_once() -> None:
    files = RecentFiles(10, Clock())
    for _ in range(5):
        files.put("a", b"12345")
    files.put("b", b"12345")

    assert files.get("a", 9) == b"12345"


def test_a_file_that_is_too_old_is_not_given() -> None:
    clock = Clock()
    files = RecentFiles(10, clock)
    files.put("a", b"1")
    clock.now += 5

    assert files.get("a", 4) is None
    assert files.get("a", 6) == b"1"
    assert files.get("a", 0) is None


def test_a_picture_that_somebody_waits_for_is_read_once_for_all_clicks() -> None:
    with running_web_server() as server:
        server.serve("/data/upload/1/a.png", PICTURE)
        fetcher = ImageFetcher(timeout_s=5, recent_bytes=10_000)

        for _ in range(3):
            fetch(fetcher, server)

        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("again", "why"),
    [
        pytest.param({"token": "another"}, "another token", id="token"),
        pytest.param({"max_age_s": 0}, "no click", id="no-click"),
    ],
)
def test_a_kept_picture_is_read_anew_for_others(
    again: dict[str, object], why: str
) -> None:
    with running_web_server() as server:
        server.serve("/data/upload/1/a.png", PICTURE)
        fetcher = ImageFetcher(timeout_s=5, recent_bytes=10_000)
        fetch(fetcher, server)

        fetch(fetcher, server, **again)  # type: ignore[arg-type]

        assert len(server.seen) == 2, why


def test_pictures_of_whole_projects_are_not_kept() -> None:
    with running_web_server() as server:
        server.serve("/data/upload/1/a.png", PICTURE)
        fetcher = ImageFetcher(timeout_s=5, recent_bytes=10_000)
        fetch(fetcher, server, is_urgent=False)

        fetch(fetcher, server)

        assert len(server.seen) == 2


def test_without_room_nothing_is_kept() -> None:
    with running_web_server() as server:
        server.serve("/data/upload/1/a.png", PICTURE)
        fetcher = ImageFetcher(timeout_s=5)
        fetch(fetcher, server)
        server.serve("/data/upload/1/a.png", b"no picture")

        with pytest.raises(ImageError):
            fetch(fetcher, server)
