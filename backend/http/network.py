"""Connections that reach only as far as allowed, and last only until a deadline.

A name is resolved once, every address is checked, and the connection goes to an
address that was checked: a name that resolves differently the second time (DNS
rebinding) gains nothing. Every wait is cut to what is left until the deadline: a
timeout per read alone would let a server drip its answer for ever.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

import httpcore

from backend.deadline import Deadline
from backend.errors import HostOutOfScope, HostReserved
from backend.http.urls import NetworkScope, is_number, is_reserved

Resolve = Callable[[str, int], list[str]]

_SYSTEM: Final = httpcore.SyncBackend()
_PIECE_BYTES: Final = 64 * 1024


def resolve_host(host: str, port: int) -> list[str]:
    """All IP addresses of a host, in the order to try them.

    Raises:
        OSError: if the name has none.
        UnicodeError: if the name cannot be one.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class ScopedNetwork(httpcore.NetworkBackend):
    """Opens the connections of one exchange."""

    def __init__(
        self, *, resolve: Resolve, scope: NetworkScope, deadline: Deadline
    ) -> None:
        """Limit one exchange.

        Args:
            resolve: host and port -> IP addresses; called in a thread of its own.
            scope: what every address of the host must lie in.
            deadline: of the whole exchange.
        """
        self._resolve = resolve
        self._scope = scope
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that answers.

        One address that is dead takes no more than its share of the time.

        Raises:
            HostOutOfScope: if the host has an address outside of the scope.
            httpcore.ConnectError: if the host cannot be resolved or reached.
            httpcore.ConnectTimeout: if it takes too long.
        """
        addresses = self._look_up(host, port)
        for address in addresses:
            if not self._scope.allows(address):
                raise _out_of_scope(host, port, address, self._scope)
        failure: Exception = httpcore.ConnectError(f"host {host!r} has no address")
        for tried, address in enumerate(addresses):
            left_s = self._left_s(httpcore.ConnectTimeout)
            try:
                stream = _SYSTEM.connect_tcp(
                    address, port, timeout=left_s / (len(addresses) - tried)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                failure = e
            else:
                return _TimedStream(stream, self._left_s)
        raise failure

    def end_within(self, limit_s: float) -> None:
        """Leave what is still to come no more than so many seconds."""
        limit_s = min(limit_s, self._deadline.remaining_s())
        self._deadline = Deadline.after(limit_s, self._deadline.clock)

    def _look_up(self, host: str, port: int) -> list[str]:
        """Resolve a host within the time.

        `getaddrinfo` knows no timeout. It is left behind in its thread when it is
        too slow, where the system's resolver gives up by itself some time later.
        """
        answer: Future[list[str]] = Future()

        def resolve() -> None:
            try:
                answer.set_result(self._resolve(host, port))
            except BaseException as e:  # handed on to the thread that waits
                answer.set_exception(e)

        threading.Thread(target=resolve, name=f"look up {host}", daemon=True).start()
        try:
            return answer.result(self._left_s(httpcore.ConnectTimeout))
        except (OSError, UnicodeError) as e:
            if not answer.done():
                raise httpcore.ConnectTimeout(f"looking up {host!r}") from e
            raise httpcore.ConnectError(f"host {host!r} cannot be resolved") from e

    def _left_s(self, too_late: type[Exception]) -> float:
        left_s = self._deadline.remaining_s()
        if left_s == 0:
            raise too_late("the deadline has passed")
        return left_s


class _TimedStream(httpcore.NetworkStream):
    """A connection of which every wait ends at the deadline, whatever is asked for."""

    def __init__(
        self,
        stream: httpcore.NetworkStream,
        left_s: Callable[[type[Exception]], float],
    ) -> None:
        self._stream = stream
        self._left_s = left_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left_s(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: httpcore grants the whole timeout to each part that a slow
        # reader takes.
        for start in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[start : start + _PIECE_BYTES]
            self._stream.write(piece, self._left_s(httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = self._left_s(httpcore.ConnectTimeout)
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, left_s), self._left_s
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _out_of_scope(
    host: str, port: int, address: str, scope: NetworkScope
) -> HostOutOfScope:
    has = "is" if is_number(host) else f"has the address {address}, which is"
    if is_reserved(address):
        return HostReserved(
            f"Host {host!r} {has} outside of {scope.value}: it is link-local, or of a "
            f"cloud's metadata service.",
            place=host,
        )
    return HostOutOfScope(
        f"Host {host!r} {has} outside of {scope.value}.",
        place=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    )
