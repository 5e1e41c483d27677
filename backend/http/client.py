"""One HTTP exchange within limits; the border behind which httpx stays.

A request in, an Answer out: no redirect is followed, no cookie kept, no password
file of the environment used. Every failure is an ImageError.

HTTP_PROXY and its like are not heeded: a proxy resolves names itself, and would
connect where `network.py` does not.
"""

import functools
import http.cookiejar
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from backend.deadline import Deadline
from backend.errors import ImageError, ImageTooLarge, ImageTooSlow
from backend.http.network import Resolve
from backend.http.transport import DEADLINE, SCOPE, ScopedTransport
from backend.http.urls import NetworkScope, shorten

# They log every address, the signatures of pre-signed ones included.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

_LONGEST_REASON: Final = 200
# What a browser would undo. It passes over all else that servers write there, as
# "aws-chunked" or "utf-8", and so do we.
_COMPRESSIONS: Final = frozenset(
    {"gzip", "x-gzip", "deflate", "compress", "br", "zstd"}
)


@dataclass(frozen=True)
class Answer:
    """What a server said. The body is read only when the status is 2xx."""

    status: int
    headers: httpx.Headers
    body: bytes


class HttpClient:
    """Thread-safe sender of bounded requests."""

    def __init__(self, *, resolve: Resolve) -> None:
        """Set up; `resolve` gives the IP addresses of a host and port."""
        no_cookies = http.cookiejar.CookieJar(
            http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        )
        self._client = httpx.Client(
            transport=ScopedTransport(resolve=resolve, trusted=_trusted_authorities()),
            trust_env=False,
            cookies=no_cookies,
            follow_redirects=False,
            headers={
                # A compressed body could grow past any limit in one step.
                "Accept-Encoding": "identity",
                "Connection": "close",
                "User-Agent": "diffsegmenter",
            },
        )

    def close(self) -> None:
        """Refuse further requests."""
        self._client.close()

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
    ) -> Answer:
        """Send one request and read its answer.

        The deadline holds for all of it: the look-up of the name, the connection,
        every piece of headers and body.

        Raises:
            ImageRefused: if the host is out of scope.
            ImageTooLarge: if the body is larger than `max_bytes`.
            ImageTooSlow: if the deadline passes.
            ImageError: if no whole answer came, for whatever other reason.
        """
        request = self._client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            json=json,
            extensions={SCOPE: scope, DEADLINE: deadline},
        )
        try:
            response = self._client.send(request, stream=True)
            try:
                body = b""
                if response.is_success:
                    body = _read_body(response, max_bytes)
                return Answer(response.status_code, response.headers, body)
            finally:
                response.close()
        except httpx.TimeoutException as e:
            raise _too_slow(url, deadline) from e
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
            # UnicodeError: httpx looks into a redirect's host even without following.
            raise _unreadable(url, e) from e


@functools.cache
def _trusted_authorities() -> ssl.SSLContext:
    """Certificate authorities; reading them takes a tenth of a second.

    Like every TLS program, httpx heeds SSL_CERT_FILE and SSL_CERT_DIR here.
    """
    return httpx.create_ssl_context()


def _read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Collect the body, giving up as soon as a limit is passed."""
    encodings = response.headers.get("Content-Encoding", "").lower()
    if _COMPRESSIONS & {name.strip() for name in encodings.split(",")}:
        raise ImageError(
            f"{shorten(str(response.request.url))} came with the content encoding "
            f"{encodings[:40]!r}, which was not asked for. Switch compression off "
            f"for images on that server."
        )
    announced_bytes = int(response.headers.get("Content-Length", "0"))
    if announced_bytes > max_bytes:
        raise _too_large(response.request.url, f"{announced_bytes:,}", max_bytes)
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > max_bytes:
            raise _too_large(
                response.request.url, f"more than {max_bytes:,}", max_bytes
            )
    return bytes(body)


def _too_large(url: httpx.URL, size: str, max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"{shorten(str(url))} has {size} bytes; the limit is {max_bytes:,}. "
        f"Use a smaller copy or raise IMAGE_MAX_BYTES."
    )


def _unreadable(url: httpx.URL, failure: Exception) -> ImageError:
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
    return ImageError(f"{shorten(str(url))} cannot be read: {reason}. {remedy}")


def _too_slow(url: httpx.URL, deadline: Deadline) -> ImageTooSlow:
    return ImageTooSlow(
        f"{shorten(str(url))} did not arrive within {deadline.limit_s:g} s. "
        f"Check the server, or raise FETCH_TIMEOUT_S."
    )
