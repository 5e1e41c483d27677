from collections.abc import Callable

import httpx
import pytest

from backend.addresses import Reach
from backend.errors import ImageRefused
from backend.guarded_transport import REACH, GuardedTransport, resolve_host


class Recorder(httpx.BaseTransport):
    """Keeps requests; refuses to connect to the addresses in `dead`."""

    def __init__(self, *dead: str) -> None:
        self.requests: list[httpx.Request] = []
        self.dead = dead
        self.is_closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host in self.dead:
            raise httpx.ConnectTimeout(f"{request.url.host} is dead")
        return httpx.Response(200)

    def close(self) -> None:
        self.is_closed = True


def guarded(
    resolve: Callable[[str, int], list[str]], *dead: str
) -> tuple[GuardedTransport, Recorder, Recorder]:
    named, pinned = Recorder(), Recorder(*dead)
    return (
        GuardedTransport(named=named, pinned=pinned, resolve=resolve),
        named,
        pinned,
    )


def request(url: str, reach: Reach) -> httpx.Request:
    return httpx.Request("GET", url, extensions={REACH: reach})


def test_guarded_transport_connects_to_the_address_it_checked() -> None:
    lookups: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        lookups.append((host, port))
        return ["93.184.216.34"] if len(lookups) == 1 else ["127.0.0.1"]

    transport, named, pinned = guarded(rebinding)
    transport.handle_request(request("https://a.org/x.png?y=1", Reach.PUBLIC))

    (sent,) = pinned.requests
    assert str(sent.url) == "https://93.184.216.34/x.png?y=1"
    assert sent.headers["Host"] == "a.org"
    assert sent.extensions["sni_hostname"] == "a.org"
    assert lookups == [("a.org", 443)]
    assert named.requests == []


def test_guarded_transport_resolves_nothing_for_a_named_host() -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    transport, named, pinned = guarded(never)
    transport.handle_request(request("http://minio:9000/x", Reach.ANYWHERE))

    assert str(named.requests[0].url) == "http://minio:9000/x"
    assert pinned.requests == []


@pytest.mark.parametrize("url", ["http://a.org/x", "http://127.0.0.1/x"])
def test_guarded_transport_refuses_if_any_address_is_out_of_reach(url: str) -> None:
    transport, _, pinned = guarded(lambda *_: ["93.184.216.34", "10.0.0.1"])

    with pytest.raises(ImageRefused, match=r"10\.0\.0\.1.*IMAGE_HOSTS"):
        transport.handle_request(request(url, Reach.PUBLIC))
    assert pinned.requests == []


def test_guarded_transport_tries_the_next_address_when_one_is_dead() -> None:
    transport, _, pinned = guarded(
        lambda *_: ["2606:2800:220:1::1", "93.184.216.34"], "2606:2800:220:1::1"
    )

    response = transport.handle_request(request("http://a.org:81/x", Reach.PUBLIC))

    assert response.status_code == 200
    assert [str(sent.url) for sent in pinned.requests] == [
        "http://[2606:2800:220:1::1]:81/x",
        "http://93.184.216.34:81/x",
    ]


def test_guarded_transport_raises_the_last_failure_when_all_are_dead() -> None:
    transport, *_ = guarded(lambda *_: ["93.184.216.34"], "93.184.216.34")

    with pytest.raises(httpx.ConnectTimeout, match="dead"):
        transport.handle_request(request("http://a.org/x", Reach.PUBLIC))


@pytest.mark.parametrize(
    "failure",
    [OSError("no such name"), UnicodeError("label too long"), None],
    ids=["unknown", "impossible", "empty"],
)
def test_guarded_transport_reports_an_unresolvable_host_as_not_connected(
    failure: Exception | None,
) -> None:
    def resolve(host: str, port: int) -> list[str]:
        if failure is not None:
            raise failure
        return []

    transport, *_ = guarded(resolve)
    with pytest.raises(httpx.ConnectError, match=r"a\.org"):
        transport.handle_request(request("http://a.org/x", Reach.PUBLIC))


def test_guarded_transport_refuses_a_request_without_a_reach() -> None:
    transport, named, pinned = guarded(lambda *_: ["93.184.216.34"])

    with pytest.raises(KeyError):
        transport.handle_request(httpx.Request("GET", "http://a.org"))
    assert named.requests == pinned.requests == []


def test_guarded_transport_closes_both_transports() -> None:
    transport, named, pinned = guarded(lambda *_: [])

    transport.close()

    assert named.is_closed
    assert pinned.is_closed


@pytest.mark.parametrize("spelling", ["127.0.0.1", "2130706433", "0x7f.1", "127.1"])
def test_resolve_host_sees_through_spellings_of_loopback(spelling: str) -> None:
    assert resolve_host(spelling, 80) == ["127.0.0.1"]
