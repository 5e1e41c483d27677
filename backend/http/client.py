"""One HTTP exchange within limits.

A request in, a Response out: no redirect is followed, no cookie kept, no password
file of the environment used. Every failure is an HttpError.

HTTP_PROXY and its like are not heeded: a proxy resolves names itself, and would
connect where `network.py` does not. Connections are not kept: one that was opened
under the limits of a request must not serve another, and a kept one may be closed by
the server in the very moment that it is used again.
"""

import base64
import contextlib
import functools
import json as json_format
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import httpcore
import httpx

from backend.deadline import Deadline
from backend.errors import (
    HttpError,
    HttpTimeout,
    ResponseCompressed,
    ResponseTooLarge,
)
from backend.http.network import Resolve, ScopedNetwork, resolve_host
from backend.http.urls import NetworkScope, shorten

# They log every address, the signatures of pre-signed ones included.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

# Where a host's keeper reads what asks there.
PROJECT_URL: Final = "https://arxiv.org/abs/2309.02773"


def _user_agent() -> str:
    """Name, version and an address, which some hosts refuse to answer without."""
    try:
        version = metadata.version("diffsegmenter-label-studio")
    except metadata.PackageNotFoundError:  # run from a folder
        version = "0"
    return f"diffsegmenter/{version} (+{PROJECT_URL})"


_HEADERS: Final = {
    "Accept": "*/*",
    # A compressed body could grow past any limit in one step.
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": _user_agent(),
}
_LONGEST_REASON: Final = 200
# A refusal is known by its status; its words are not worth a long wait.
_EXCERPT_S: Final = 2.0
# What a browser would undo. It passes over all else that servers write there, as
# "aws-chunked" or "utf-8", and so do we.
_COMPRESSIONS: Final = frozenset(
    {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}
)


@dataclass(frozen=True)
class Response:
    """What a server said.

    Attributes:
        status: of HTTP.
        headers: in any case of letters.
        body: as it came; of a refusal, as much as was asked for.
    """

    status: int
    headers: httpx.Headers
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class HttpClient:
    """Thread-safe sender of bounded requests. Holds nothing open."""

    def __init__(
        self, *, resolve: Resolve = resolve_host, trusted: ssl.SSLContext | None = None
    ) -> None:
        """Set up.

        Args:
            resolve: host and port -> IP addresses.
            trusted: certificate authorities; None takes those that httpx takes, which
                heeds SSL_CERT_FILE and SSL_CERT_DIR like every TLS program.
        """
        self._resolve = resolve
        self._trusted = trusted or _usual_authorities()

    def send(
        self,
        method: str,
        url: httpx.URL,
        *,
        scope: NetworkScope,
        deadline: Deadline,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        reads_refusals: bool = False,
        excerpt_bytes: int = 0,
    ) -> Response:
        """Send one request and read its response.

        Args:
            method: of HTTP, in capitals.
            url: from `parse_url`. Its user and password are sent, unless `headers`
                holds an Authorization.
            scope: what every address of the host must lie in.
            deadline: for all of it: the look-up of the name, the connection, every
                piece of headers and body.
            max_bytes: of the body.
            headers: besides those of every request.
            json: to send as the body; None sends none.
            reads_refusals: whether to read the body of a status other than 2xx.
            excerpt_bytes: if not, so much of the body of a 4xx or 5xx is read, as far
                as it comes within two seconds.

        Raises:
            HostOutOfScope: if the host is out of scope.
            HttpTimeout: if the deadline passes.
            ResponseTooLarge: if the body is larger than `max_bytes`.
            ResponseCompressed: if the body of a 2xx is not as it was asked for.
            HttpError: if no whole response came, for whatever other reason.
            ValueError: if `json` is no JSON.
        """
        request = _request(method, url, headers or {}, json)
        network = ScopedNetwork(resolve=self._resolve, scope=scope, deadline=deadline)
        try:
            with httpcore.HTTPConnection(
                request.url.origin,
                ssl_context=self._trusted,
                network_backend=network,
            ) as connection:
                received = connection.handle_request(request)
                head = Response(received.status, httpx.Headers(received.headers))
                if not (head.is_success or reads_refusals):
                    if head.status < 400 or not excerpt_bytes:
                        return head
                    network.end_within(_EXCERPT_S)
                    excerpt = _read_excerpt(received, head, excerpt_bytes)
                    return Response(head.status, head.headers, excerpt)
                body = _read_body(received, head, url, max_bytes)
                return Response(head.status, head.headers, body)
        except httpcore.TimeoutException as e:
            raise HttpTimeout(
                f"{shorten(str(url))} did not arrive within {deadline.limit_s:g} s."
            ) from e
        except (httpcore.NetworkError, httpcore.ProtocolError) as e:
            raise _unreadable(url, e) from e


def basic_auth(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@functools.cache
def _usual_authorities() -> ssl.SSLContext:
    """Kept, as reading them takes a tenth of a second."""
    return httpx.create_ssl_context()


def _request(
    method: str, url: httpx.URL, headers: Mapping[str, str], json: Any
) -> httpcore.Request:
    """What goes over the wire: host, port and target are those of the checked URL."""
    fields = {"Host": url.netloc.decode("ascii"), **_HEADERS}
    if url.username or url.password:
        fields["Authorization"] = basic_auth(url.username, url.password)
    body = b""
    if json is not None:
        body = json_format.dumps(
            json, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
        fields["Content-Type"] = "application/json"
    if method != "GET":
        fields["Content-Length"] = str(len(body))
    return httpcore.Request(
        method,
        httpcore.URL(
            scheme=url.raw_scheme,
            host=url.raw_host,
            port=url.port,
            target=url.raw_path,
        ),
        headers=list({**fields, **headers}.items()),
        content=body,
    )


def _read_body(
    received: httpcore.Response, head: Response, url: httpx.URL, max_bytes: int
) -> bytes:
    """Collect the body, giving up as soon as a limit is passed."""
    encodings = head.headers.get("Content-Encoding", "").lower()
    is_compressed = _COMPRESSIONS & {name.strip() for name in encodings.split(",")}
    if head.is_success and is_compressed:
        raise ResponseCompressed(
            f"{shorten(str(url))} came with the content encoding "
            f"{encodings[:40]!r}, which was not asked for."
        )
    announced_bytes = int(head.headers.get("Content-Length", "0"))
    if announced_bytes > max_bytes:
        raise _too_large(url, head, f"{announced_bytes:,}", max_bytes)
    body = bytearray()
    for piece in received.iter_stream():
        body += piece
        if len(body) > max_bytes:
            raise _too_large(url, head, f"more than {max_bytes:,}", max_bytes)
    return bytes(body)


def _read_excerpt(received: httpcore.Response, head: Response, max_bytes: int) -> bytes:
    """The beginning of a body; less of it if that does not come."""
    body = bytearray()
    if head.headers.get("Content-Encoding", "identity").lower() != "identity":
        return b""
    with contextlib.suppress(
        httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError
    ):
        for piece in received.iter_stream():
            body += piece
            if len(body) >= max_bytes:
                break
    return bytes(body[:max_bytes])


def _too_large(
    url: httpx.URL, head: Response, size: str, max_bytes: int
) -> ResponseTooLarge:
    return ResponseTooLarge(
        f"{shorten(str(url))} has {size} bytes; the limit is {max_bytes:,}.",
        status=head.status,
    )


def _unreadable(url: httpx.URL, failure: Exception) -> HttpError:
    reason = str(failure)[:_LONGEST_REASON] or type(failure).__name__
    remedy = (
        f"Check that this backend reaches {url.host!r}; in a container, localhost is "
        f"the container itself."
    )
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        remedy = (
            "Set SSL_CERT_FILE to a file with the certificate of the authority that "
            "signed the server's."
        )
    return HttpError(f"{shorten(str(url))} cannot be read: {reason}. {remedy}")
