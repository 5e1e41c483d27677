import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from PIL import Image

from backend.deadline import Deadline
from backend.errors import ImageError, ImageUnauthorized
from backend.http import HttpClient
from backend.images import ImageFetcher
from backend.label_studio.auth import TokenProvider
from backend.types import LabelStudioAccess
from tests.clock import Clock, no_longer_than
from tests.web_server import WebServer, running_web_server, send

PICTURE = "/data/upload/1/a.png"
REFRESH = "/api/token/refresh/"


def jwt(**claims: Any) -> str:
    parts = [{"alg": "HS256"}, claims, {"signature": 1}]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return ".".join(text.decode().rstrip("=") for text in texts)


PERSONAL = jwt(token_type="refresh", exp=9_999_999_999)


class LabelStudio:
    """The two addresses that matter here, with Label Studio's token rules."""

    def __init__(self, server: WebServer, life_s: int = 300) -> None:
        self.server = server
        self.life_s = life_s
        self.issued: list[str] = []
        self.refused: set[str] = set()
        self.pause_s = 0.0
        file = io.BytesIO()
        Image.new("RGB", (3, 2)).save(file, "PNG")
        self.picture = file.getvalue()
        server.route(PICTURE, self.send_picture)
        server.route(REFRESH, self.send_access_token)

    def send_picture(self, handler: BaseHTTPRequestHandler) -> None:
        good = {"Token legacy"} | {f"Bearer {text}" for text in self.issued}
        is_good = handler.headers["Authorization"] in good - self.refused
        send(handler, self.picture, status=200 if is_good else 401)

    def send_access_token(self, handler: BaseHTTPRequestHandler) -> None:
        if json.loads(self.server.seen[-1].body) != {"refresh": PERSONAL}:
            send(handler, b"{}", status=401)
            return
        self.server.stopped.wait(self.pause_s)
        # The server's clock is far from ours on purpose.
        claims = {"iat": 5, "exp": 5 + self.life_s, "jti": len(self.issued)}
        self.issued.append(jwt(token_type="access", **claims))
        send(handler, json.dumps({"access": self.issued[-1]}).encode())

    def access(self, token: str | None) -> LabelStudioAccess:
        return LabelStudioAccess(
            url=self.server.url, token=token, from_environment=True
        )

    def calls(self, path: str) -> int:
        return sum(request.path == path for request in self.server.seen)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def label_studio(server: WebServer) -> LabelStudio:
    return LabelStudio(server)


@pytest.fixture
def fetcher(clock: Clock) -> ImageFetcher:
    return ImageFetcher(timeout_s=5, clock=clock)


def test_fetch_sends_a_legacy_token_as_it_is(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    fetcher.fetch(PICTURE, access=label_studio.access("legacy"))

    (request,) = label_studio.server.seen
    assert request.headers["authorization"] == "Token legacy"


def test_fetch_sends_an_access_token_as_bearer(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    token = jwt(token_type="access")
    label_studio.issued.append(token)

    fetcher.fetch(PICTURE, access=label_studio.access(token))

    assert label_studio.server.seen[0].headers["authorization"] == f"Bearer {token}"


def test_fetch_exchanges_a_personal_token_once_for_many_images(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    for _ in range(3):
        fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))

    assert label_studio.calls(REFRESH) == 1
    assert label_studio.calls(PICTURE) == 3
    sent = label_studio.server.seen[-1].headers["authorization"]
    assert sent == f"Bearer {label_studio.issued[0]}"
    refresh = label_studio.server.seen[0]
    assert (refresh.method, refresh.headers.get("authorization")) == ("POST", None)


@pytest.mark.parametrize(
    ("life_s", "passed_s", "exchanges"),
    [(300, 239, 1), (300, 241, 2), (100, 74, 1), (100, 76, 2)],
)
def test_fetch_renews_the_access_token_before_its_end(
    fetcher: ImageFetcher,
    label_studio: LabelStudio,
    clock: Clock,
    life_s: int,
    passed_s: int,
    exchanges: int,
) -> None:
    label_studio.life_s = life_s
    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))

    clock.now += passed_s
    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))

    assert label_studio.calls(REFRESH) == exchanges


def test_fetch_exchanges_again_when_an_access_token_is_refused(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))
    label_studio.refused.add(f"Bearer {label_studio.issued[0]}")

    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))

    assert label_studio.calls(REFRESH) == 2
    assert label_studio.calls(PICTURE) == 3


def test_fetch_gives_up_after_one_more_exchange(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    label_studio.server.serve(PICTURE, status=401)

    with pytest.raises(ImageUnauthorized, match="the token is not accepted"):
        fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))
    assert label_studio.calls(REFRESH) == 2
    assert label_studio.calls(PICTURE) == 2


def test_fetch_keeps_access_tokens_of_different_owners_apart(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))
    stranger = jwt(token_type="refresh", sub="stranger")

    with pytest.raises(ImageUnauthorized, match="personal access token"):
        fetcher.fetch(PICTURE, access=label_studio.access(stranger))


def test_fetch_explains_a_personal_token_that_is_not_exchanged(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    token = jwt(token_type="refresh", sub="revoked")

    with pytest.raises(ImageUnauthorized, match=r"401.*revoked, expired") as caught:
        fetcher.fetch(PICTURE, access=label_studio.access(token))
    assert token not in str(caught.value)
    assert label_studio.calls(PICTURE) == 0


def test_fetch_explains_a_place_that_exchanges_no_tokens(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    access = LabelStudioAccess(
        url=f"{label_studio.server.url}/label-studio",
        token=PERSONAL,
        from_environment=True,
    )

    with pytest.raises(ImageUnauthorized, match=r"answered 404.*with its sub-path"):
        fetcher.fetch(PICTURE, access=access)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"<html>", 200, id="page"),
        pytest.param(b'{"access": 5}', 200, id="number"),
        pytest.param(b'{"access": "a\\nb"}', 200, id="line-break"),
        pytest.param(b"[]", 200, id="list"),
        pytest.param(b"", 302, id="redirect"),
        pytest.param(b"", 500, id="fault"),
    ],
)
def test_fetch_explains_an_exchange_without_a_token(
    fetcher: ImageFetcher, label_studio: LabelStudio, body: bytes, status: int
) -> None:
    label_studio.server.serve(REFRESH, body, status=status)

    with pytest.raises(ImageError, match=f"{status} without an access token"):
        fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))


def together(count: int, work: Callable[[], object]) -> list[Exception | None]:
    """Do the same in several threads that start at once; what each of them raised."""
    start = threading.Barrier(count)
    raised: list[Exception | None] = [None] * count

    def run(place: int) -> None:
        start.wait(5)
        try:
            work()
        except ImageError as e:
            raised[place] = e

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_fetch_exchanges_a_personal_token_once_for_threads_that_need_it_at_once(
    fetcher: ImageFetcher, label_studio: LabelStudio, clock: Clock
) -> None:
    access = label_studio.access(PERSONAL)
    label_studio.pause_s = 0.2  # so that all of them find the exchange going on

    first = together(8, lambda: fetcher.fetch(PICTURE, access=access))
    clock.now += 250
    second = together(8, lambda: fetcher.fetch(PICTURE, access=access))

    assert first == second == [None] * 8
    assert label_studio.calls(REFRESH) == 2
    assert label_studio.calls(PICTURE) == 16


def test_fetch_exchanges_once_for_threads_that_are_refused_with_the_same_token(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    access = label_studio.access(PERSONAL)
    fetcher.fetch(PICTURE, access=access)
    label_studio.refused.add(f"Bearer {label_studio.issued[0]}")

    raised = together(8, lambda: fetcher.fetch(PICTURE, access=access))

    assert raised == [None] * 8
    assert label_studio.calls(REFRESH) == 2


def test_fetch_tells_every_thread_of_a_token_that_is_not_exchanged(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    revoked = label_studio.access(jwt(token_type="refresh", sub="revoked"))

    raised = together(4, lambda: fetcher.fetch(PICTURE, access=revoked))

    assert [type(error) for error in raised] == [ImageUnauthorized] * 4


def test_fetch_exchanges_anew_after_an_exchange_that_failed(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    label_studio.server.serve(REFRESH, status=503)
    with pytest.raises(ImageError, match="503"):
        fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))

    label_studio.server.route(REFRESH, label_studio.send_access_token)

    fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))


@pytest.mark.timeout(30)
def test_header_waits_for_the_exchange_of_another_thread_no_longer_than_it_may(
    label_studio: LabelStudio,
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        answered.wait(20)
        label_studio.send_access_token(handler)

    label_studio.server.route(REFRESH, hold)
    access = label_studio.access(PERSONAL)
    desk = TokenProvider(HttpClient(), time.monotonic)
    patient, hasty = (Deadline.after(s, time.monotonic) for s in (20, 0.2))
    headers: list[str | None] = []
    thread = threading.Thread(
        target=lambda: headers.append(desk.header(access, patient))
    )
    thread.start()
    assert asked.wait(5)

    started_s = time.monotonic()
    with pytest.raises(ImageError, match=r"within 0\.2 s.*FETCH_TIMEOUT_S"):
        desk.header(access, hasty)
    assert time.monotonic() - started_s < 2
    answered.set()
    thread.join()

    assert headers == [f"Bearer {label_studio.issued[0]}"]
    assert label_studio.calls(REFRESH) == 1


def test_fetch_does_not_wait_for_the_exchange_of_another_label_studio(
    fetcher: ImageFetcher, label_studio: LabelStudio
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        answered.wait(20)
        send(handler, b"{}", status=401)

    with running_web_server() as other:
        other.route(REFRESH, hold)
        slow = LabelStudioAccess(url=other.url, token=PERSONAL, from_environment=True)

        def fail() -> None:
            with pytest.raises(ImageUnauthorized):
                fetcher.fetch(PICTURE, access=slow)

        thread = threading.Thread(target=fail)
        thread.start()
        assert asked.wait(5)
        with no_longer_than(10):
            fetcher.fetch(PICTURE, access=label_studio.access(PERSONAL))
        answered.set()
        thread.join()


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "tökén", ""])
def test_fetch_refuses_a_token_that_no_header_can_hold(
    fetcher: ImageFetcher, label_studio: LabelStudio, token: str
) -> None:
    with pytest.raises(ImageUnauthorized, match="LABEL_STUDIO_API_KEY"):
        fetcher.fetch(PICTURE, access=label_studio.access(token))
    assert label_studio.server.seen == []


@pytest.mark.parametrize(
    "token", ["a.b.c", "....", "a." + "W" * 100_000, "a.bnVsbA", "a.eyJ0b2tlbl90eXBl"]
)
def test_fetch_takes_what_is_no_jwt_for_a_legacy_token(
    fetcher: ImageFetcher, label_studio: LabelStudio, token: str
) -> None:
    label_studio.server.serve(PICTURE, label_studio.picture)

    if len(token) < 1000:
        fetcher.fetch(PICTURE, access=label_studio.access(token))
        assert label_studio.server.seen[0].headers["authorization"] == f"Token {token}"
    else:  # longer than a server reads, but still a refusal of ours
        with pytest.raises(ImageError):
            fetcher.fetch(PICTURE, access=label_studio.access(token))
