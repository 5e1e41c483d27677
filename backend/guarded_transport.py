"""An httpx transport that connects only where a request's reach allows.

A name is resolved once, every address is checked, and the connection goes to
the address that was checked: a name that resolves differently the second time
(DNS rebinding) gains nothing. Knows networks; has never heard of images' formats.
"""

import socket
from collections.abc import Callable
from typing import Final

import httpx

from backend.addresses import Reach
from backend.errors import ImageRefused

# Key of the request extension that holds a `Reach`.
REACH: Final = "reach"

Resolve = Callable[[str, int], list[str]]


def resolve_host(host: str, port: int) -> list[str]:
    """All IP addresses of a host, in the order to try them.

    Raises:
        OSError: if the name has none.
        UnicodeError: if the name cannot be one.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedTransport(httpx.BaseTransport):
    """Sends a request as far as its `REACH` extension says, and no further."""

    def __init__(
        self,
        *,
        named: httpx.BaseTransport,
        pinned: httpx.BaseTransport,
        resolve: Resolve = resolve_host,
    ) -> None:
        """Own two transports.

        Args:
            named: carries requests that may go anywhere.
            pinned: carries requests to checked addresses. It must not keep
                connections: they are told apart by IP address alone, and one
                opened for a name must not serve another name there.
            resolve: host and port -> IP addresses.
        """
        self._named = named
        self._pinned = pinned
        self._resolve = resolve

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            ImageRefused: if the host has an address outside of the reach.
            httpx.TransportError: if the host cannot be resolved or reached.
        """
        reach: Reach = request.extensions[REACH]
        if reach is Reach.ANYWHERE:
            return self._named.handle_request(request)
        return self._send_pinned(request, self._checked_addresses(request.url, reach))

    def close(self) -> None:
        """Close both transports."""
        self._named.close()
        self._pinned.close()

    def _checked_addresses(self, url: httpx.URL, reach: Reach) -> list[str]:
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as e:
            raise httpx.ConnectError(f"host {url.host!r} cannot be resolved") from e
        for address in addresses:
            if not reach.allows(address):
                raise ImageRefused(
                    f"Host {url.host!r} has the address {address}, outside of "
                    f"{reach.value}. If images may be read there, name the host in "
                    f"IMAGE_HOSTS; if it is Label Studio, set LABEL_STUDIO_URL to it."
                )
        return addresses

    def _send_pinned(
        self, request: httpx.Request, addresses: list[str]
    ) -> httpx.Response:
        failure: httpx.TransportError = httpx.ConnectError(
            f"host {request.url.host!r} has no address"
        )
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # with the Host header of the name
                stream=request.stream,
                extensions={
                    **request.extensions,
                    "sni_hostname": request.url.raw_host.decode("ascii"),
                },
            )
            try:
                return self._pinned.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as e:
                failure = e
        raise failure
