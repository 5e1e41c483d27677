"""An httpx transport: one guarded connection per request, closed after its answer.

Connections are not kept: one that was opened under the limits of a request must
not serve another, and a kept one may be closed by the server in the very moment
that it is used again.
"""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

import httpcore
import httpx

from backend.deadline import Deadline
from backend.http.network import Resolve, ScopedNetwork
from backend.http.urls import NetworkScope

# Keys of the request extensions that hold a `NetworkScope` and a `Deadline`.
SCOPE: Final = "scope"
DEADLINE: Final = "deadline"


class ScopedTransport(httpx.BaseTransport):
    """Sends a request as far, and waits as long, as its extensions say."""

    def __init__(self, *, resolve: Resolve, trusted: ssl.SSLContext) -> None:
        """Share a resolver and the trusted certificate authorities."""
        self._resolve = resolve
        self._trusted = trusted

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            ImageRefused: if the host has an address outside of the scope.
            httpx.TimeoutException: if the deadline passes.
            httpx.TransportError: if no answer comes for another reason.
        """
        scope: NetworkScope = request.extensions[SCOPE]
        deadline: Deadline = request.extensions[DEADLINE]
        sent = _for_httpcore(request)
        connection = httpcore.HTTPConnection(
            sent.url.origin,
            ssl_context=self._trusted,
            network_backend=ScopedNetwork(
                resolve=self._resolve, scope=scope, deadline=deadline
            ),
        )
        with _errors_of_httpx():
            answer = connection.handle_request(sent)  # which closes it when it fails
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, connection),
            extensions=answer.extensions,
        )


class _Body(httpx.SyncByteStream):
    """The body of an answer; closing it closes the connection."""

    def __init__(
        self, answer: httpcore.Response, connection: httpcore.HTTPConnection
    ) -> None:
        self._answer = answer
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        with _errors_of_httpx():
            self._answer.close()
            self._connection.close()


def _for_httpcore(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=url.raw_scheme,
            host=url.raw_host,
            port=url.port,
            target=url.raw_path,
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions={},
    )


@contextlib.contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as e:
        raise httpx.TimeoutException(str(e)) from e
    except (httpcore.NetworkError, httpcore.ProtocolError) as e:
        raise httpx.TransportError(str(e)) from e
