import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import httpcore
import pytest

from backend.deadline import Deadline
from backend.errors import HostOutOfScope
from backend.http.network import ScopedNetwork, resolve_host
from backend.http.urls import HostRule, NetworkScope
from tests.clock import Clock

pytestmark = pytest.mark.timeout(30)


def network(
    resolve: Callable[[str, int], list[str]],
    scope: NetworkScope = NetworkScope.PRIVATE,
    limit_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> ScopedNetwork:
    return ScopedNetwork(
        resolve=resolve, scope=scope, deadline=Deadline.after(limit_s, clock)
    )


@contextlib.contextmanager
def listening(
    serve: Callable[[socket.socket], None], host: str = "127.0.0.1"
) -> Iterator[int]:
    """A raw TCP server for one connection, on the port that is yielded."""

    def accept() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                serve(connection)

    with socket.create_server((host, 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # which ends a waiting accept
            thread.join(5)


def test_guarded_network_connects_to_the_address_it_checked() -> None:
    lookups: list[tuple[str, int]] = []

    def rebinding(host: str, port: int) -> list[str]:
        lookups.append((host, port))
        return ["127.0.0.1"] if len(lookups) == 1 else ["192.0.2.1"]

    with listening(lambda connection: connection.sendall(b"hello")) as port:
        stream = network(rebinding).connect_tcp("a.org", port)
        heard = stream.read(10)
        stream.close()

    assert heard == b"hello"
    assert lookups == [("a.org", port)]


@pytest.mark.parametrize("host", ["a.org", "127.0.0.1"])
@pytest.mark.parametrize(
    ("scope", "addresses"),
    [
        pytest.param(NetworkScope.PUBLIC, ["93.184.216.34", "10.0.0.1"], id="private"),
        pytest.param(
            NetworkScope.PUBLIC, ["10.0.0.1", "93.184.216.34"], id="private-first"
        ),
        pytest.param(NetworkScope.PRIVATE, ["169.254.169.254"], id="link-local"),
        pytest.param(NetworkScope.PRIVATE, ["127.0.0.1", "fe80::1%lo"], id="scoped"),
    ],
)
def test_guarded_network_refuses_a_host_if_any_of_its_addresses_is_out_of_scope(
    host: str, scope: NetworkScope, addresses: list[str]
) -> None:
    def serve(connection: socket.socket) -> None:
        raise AssertionError("connected")

    with (
        listening(serve) as port,
        pytest.raises(HostOutOfScope, match=f"outside of {scope.value}"),
    ):
        network(lambda *_: addresses, scope).connect_tcp(host, port)


@pytest.mark.parametrize(
    ("host", "entry"),
    [("minio", "minio:9000"), ("10.0.0.1", "10.0.0.1:9000"), ("::1", "[::1]:9000")],
)
def test_guarded_network_says_what_to_add_to_image_hosts(host: str, entry: str) -> None:
    address = host if host[0] in "1:" else "172.18.0.3"

    with pytest.raises(HostOutOfScope, match=address) as caught:
        network(lambda *_: [address], NetworkScope.PUBLIC).connect_tcp(host, 9000)

    assert caught.value.place == entry
    assert HostRule.parse(entry).port == 9000


def test_guarded_network_goes_anywhere_when_told_to() -> None:
    with listening(lambda connection: connection.sendall(b"x")) as port:
        stream = network(lambda *_: ["127.0.0.1"], NetworkScope.ANYWHERE).connect_tcp(
            "minio", port
        )
        assert stream.read(1) == b"x"
        stream.close()


def test_guarded_network_tries_the_next_address_when_one_refuses() -> None:
    with listening(lambda connection: connection.sendall(b"x")) as port:
        stream = network(lambda *_: ["127.0.0.9", "127.0.0.1"]).connect_tcp("a", port)
        assert stream.read(1) == b"x"
        stream.close()


def test_guarded_network_raises_the_last_failure_when_all_refuse() -> None:
    with listening(lambda connection: None) as port:
        pass

    with pytest.raises(httpcore.ConnectError, match="refused"):
        network(lambda *_: ["127.0.0.1"]).connect_tcp("a.org", port)


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """A place where connections are neither accepted nor refused, as off a network."""
    with socket.create_server((host, port), backlog=0) as listener:
        filler = socket.create_connection(listener.getsockname())
        yield
        filler.close()


def test_guarded_network_leaves_time_for_the_addresses_behind_a_dead_one() -> None:
    with (
        listening(lambda connection: connection.sendall(b"x")) as port,
        black_hole("127.0.0.2", port),
    ):
        stream = network(
            lambda *_: ["127.0.0.2", "127.0.0.1"], limit_s=1.0
        ).connect_tcp("a", port)
        assert stream.read(1) == b"x"
        stream.close()


def test_guarded_network_gives_up_on_dead_addresses_at_the_deadline() -> None:
    started_s = time.monotonic()
    with (
        listening(lambda connection: None) as port,
        black_hole("127.0.0.2", port),
        pytest.raises(httpcore.ConnectTimeout),
    ):
        network(lambda *_: ["127.0.0.2"] * 5, limit_s=0.3).connect_tcp("a", port)

    assert time.monotonic() - started_s < 1.5


@pytest.mark.parametrize(
    "failure",
    [OSError("no such name"), UnicodeError("label too long"), TimeoutError("dns")],
    ids=["unknown", "impossible", "resolver-gave-up"],
)
def test_guarded_network_reports_an_unresolvable_host_as_not_connected(
    failure: Exception,
) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise failure

    with pytest.raises(httpcore.ConnectError, match=r"'a\.org' cannot be resolved"):
        network(resolve).connect_tcp("a.org", 80)


def test_guarded_network_reports_a_host_without_addresses_as_not_connected() -> None:
    with pytest.raises(httpcore.ConnectError, match=r"'a\.org' has no address"):
        network(lambda *_: []).connect_tcp("a.org", 80)


def test_guarded_network_hands_on_what_else_a_resolver_raises() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        network(resolve).connect_tcp("a.org", 80)


def test_guarded_network_does_not_wait_for_a_resolver_beyond_the_deadline() -> None:
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        done.wait(20)
        return ["127.0.0.1"]

    started_s = time.monotonic()
    try:
        with pytest.raises(httpcore.ConnectTimeout, match=r"looking up 'a\.org'"):
            network(resolve, limit_s=0.2).connect_tcp("a.org", 80)
    finally:
        done.set()

    assert time.monotonic() - started_s < 2


def test_guarded_network_does_not_start_after_the_deadline(clock: Clock) -> None:
    late = network(lambda *_: ["127.0.0.1"], limit_s=5, clock=clock)
    clock.now += 6

    with pytest.raises(httpcore.ConnectTimeout, match="deadline has passed"):
        late.connect_tcp("a.org", 80)


def test_a_connection_reads_and_writes_nothing_after_the_deadline(clock: Clock) -> None:
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        stream = network(lambda *_: ["127.0.0.1"], clock=clock).connect_tcp("a", port)
        clock.now += 4.9
        assert stream.read(2, timeout=None) == b"he"
        clock.now += 0.1
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(2, timeout=60)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"x", timeout=60)
        with pytest.raises(httpcore.ConnectTimeout):
            stream.start_tls(ssl.create_default_context(), "a", timeout=60)
        stream.close()


def test_a_connection_waits_for_bytes_no_longer_than_the_deadline() -> None:
    done = threading.Event()
    started_s = time.monotonic()

    with listening(lambda connection: bool(done.wait(20)) and None) as port:
        stream = network(lambda *_: ["127.0.0.1"], limit_s=0.2).connect_tcp("a", port)
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, timeout=None)
        stream.close()
        done.set()

    assert time.monotonic() - started_s < 2


def test_a_connection_writes_no_longer_than_the_deadline_to_a_slow_reader() -> None:
    done = threading.Event()

    def sip(connection: socket.socket) -> None:
        while not done.wait(0.05) and connection.recv(1024 * 1024):
            pass

    started_s = time.monotonic()
    with listening(sip) as port:
        stream = network(lambda *_: ["127.0.0.1"], limit_s=0.5).connect_tcp("a", port)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(bytes(100_000_000), timeout=60)
        done.set()
        stream.close()

    assert time.monotonic() - started_s < 3


def test_a_tls_handshake_that_drips_ends_at_the_deadline() -> None:
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        # The header of a record of 16 KiB, and then a byte now and then.
        connection.sendall(b"\x16\x03\x03\x40\x00")
        while not done.wait(0.05):
            connection.sendall(b"\x02")

    started_s = time.monotonic()
    with listening(drip) as port:
        stream = network(lambda *_: ["127.0.0.1"], limit_s=0.5).connect_tcp("a", port)
        with pytest.raises(httpcore.ConnectTimeout):
            stream.start_tls(ssl.create_default_context(), "a", timeout=60)
        done.set()

    assert time.monotonic() - started_s < 3


@pytest.mark.parametrize("spelling", ["127.0.0.1", "2130706433", "0x7f.1", "127.1"])
def test_resolve_host_sees_through_spellings_of_loopback(spelling: str) -> None:
    assert resolve_host(spelling, 80) == ["127.0.0.1"]
