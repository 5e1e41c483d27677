"""Which hosts are left alone, and for how long."""

import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from backend.deadline import Deadline
from backend.errors import ImageError, ImageNotFound, ImageTooSlow
from backend.images.fetcher import ImageFetcher
from backend.images.slow_hosts import HostCircuitBreakers
from backend.types import LabelStudioAccess
from tests.clock import Clock
from tests.fetching import NOWHERE, PNG
from tests.web_server import WebServer

URL = httpx.URL("http://slow.org/a.png?sig=s3cret")


@pytest.fixture
def hosts(clock: Clock) -> HostCircuitBreakers:
    return HostCircuitBreakers(clock)


def ask(
    hosts: HostCircuitBreakers,
    clock: Clock,
    outcome: ImageError | None = None,
    url: httpx.URL = URL,
    *,
    left_s: float = 20,
) -> None:
    """One exchange with this outcome, `left_s` before its deadline of 20 s."""
    deadline = Deadline(clock.now + left_s, 20, clock)
    with hosts.asking(url, deadline):
        if outcome is not None:
            raise outcome


def time_out(
    hosts: HostCircuitBreakers,
    clock: Clock,
    times: int,
    url: httpx.URL = URL,
    left_s: float = 20,
) -> None:
    for _ in range(times):
        with pytest.raises(ImageTooSlow, match=r"^late$"):
            ask(hosts, clock, ImageTooSlow("late"), url, left_s=left_s)


def test_host_is_left_alone_for_a_minute_after_three_timeouts(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    time_out(hosts, clock, 3)

    clock.now += 18.5
    with pytest.raises(
        ImageTooSlow,
        match=r"^http://slow\.org/a\.png was not asked for: slow\.org:80 did not "
        r"answer within 20 s 3 times in a row, and is asked again in 42 s\. "
        r"Check the server, or raise FETCH_TIMEOUT_S\.$",
    ) as caught:
        ask(hosts, clock)
    assert "s3cret" not in str(caught.value)
    clock.now += 41.5
    ask(hosts, clock)
    ask(hosts, clock)


def test_one_try_after_the_pause_decides_about_the_next_minute(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    time_out(hosts, clock, 3)

    clock.now += 60
    time_out(hosts, clock, 1)

    with pytest.raises(ImageTooSlow, match="asked again in 60 s"):
        ask(hosts, clock)


def test_one_caller_at_a_time_tries_after_the_pause(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    time_out(hosts, clock, 3)

    clock.now += 60
    with (
        hosts.asking(URL, Deadline.after(20, clock)),
        pytest.raises(ImageTooSlow, match="not asked for"),
    ):
        ask(hosts, clock)
    ask(hosts, clock)


@pytest.mark.parametrize(
    "outcome", [None, ImageNotFound("404"), ImageError("connection refused")]
)
def test_what_is_no_timeout_starts_the_count_anew(
    hosts: HostCircuitBreakers, clock: Clock, outcome: ImageError | None
) -> None:
    time_out(hosts, clock, 2)
    try:
        ask(hosts, clock, outcome)
    except ImageError as e:
        assert e is outcome  # noqa: PT017
    time_out(hosts, clock, 2)

    ask(hosts, clock)


def test_hosts_and_ports_are_counted_apart(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    time_out(hosts, clock, 3)

    ask(hosts, clock, url=httpx.URL("http://slow.org:8080/a.png"))
    ask(hosts, clock, url=httpx.URL("http://www.slow.org/a.png"))
    for url in ("http://SLOW.org./b.png", "http://slow.org:80/b.png"):
        with pytest.raises(ImageTooSlow, match="not asked for"):
            ask(hosts, clock, url=httpx.URL(url))


def test_host_that_got_the_rest_of_the_time_is_not_to_blame(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    time_out(hosts, clock, 9, left_s=9.9)
    ask(hosts, clock)

    time_out(hosts, clock, 3, left_s=10)
    with pytest.raises(ImageTooSlow, match="not asked for"):
        ask(hosts, clock)


def test_hosts_that_timed_out_longest_ago_are_forgotten_when_they_are_many(
    hosts: HostCircuitBreakers, clock: Clock
) -> None:
    def many(start: int) -> None:
        for number in range(start, start + 1_500):
            url = httpx.URL(f"http://h{number}.org/")
            with pytest.raises(ImageTooSlow):
                ask(hosts, clock, ImageTooSlow("late"), url)

    time_out(hosts, clock, 3)
    tracemalloc.start()
    try:
        many(0)
        at_the_limit, _ = tracemalloc.get_traced_memory()
        many(1_500)
        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    ask(hosts, clock)
    assert later < 1.5 * at_the_limit


@pytest.fixture
def hasty(foreign: WebServer) -> ImageFetcher:
    return ImageFetcher(timeout_s=0.3, image_hosts=["127.0.0.1"])


def hang(server: WebServer, *paths: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        server.stopped.wait(5)

    for path in paths:
        server.route(path, respond)


def fetch_in_threads(
    fetcher: ImageFetcher, address: str, access: LabelStudioAccess, count: int
) -> None:
    def fetch() -> None:
        with pytest.raises(ImageError):
            fetcher.fetch(address, access=access)

    threads = [threading.Thread(target=fetch) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_fetch_stops_asking_a_host_that_hangs_and_goes_on_with_others(
    hasty: ImageFetcher, foreign: WebServer, label_studio: WebServer
) -> None:
    hang(foreign, "/a.png")
    good = label_studio.serve("/a.png", PNG)
    fetch_in_threads(hasty, foreign.url + "/a.png", NOWHERE, 4)

    for _ in range(10):
        with pytest.raises(ImageTooSlow, match=f"127.0.0.1:{foreign.port} did not"):
            hasty.fetch(foreign.url + "/b.png", access=NOWHERE)

    assert "/b.png" not in [request.path for request in foreign.seen]
    assert hasty.fetch(good, access=NOWHERE).pixels.shape == (4, 6, 3)


@pytest.mark.parametrize("token", ["legacy", "a.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.b"])
def test_fetch_stops_asking_a_label_studio_that_hangs(
    hasty: ImageFetcher, label_studio: WebServer, token: str
) -> None:
    path = "/data/upload/1/a.png"
    hang(label_studio, path, "/api/token/refresh/")
    access = LabelStudioAccess(url=label_studio.url, token=token, from_environment=True)
    fetch_in_threads(hasty, path, access, 4)

    with pytest.raises(ImageTooSlow, match="was not asked for"):
        hasty.fetch(path, access=access)
