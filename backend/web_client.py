"""One HTTP exchange within limits; the border behind which httpx stays.

A request in, an Answer out: no redirect is followed, no cookie kept, no proxy
or password file of the environment used. Every failure is an ImageError.
"""

import functools
import http.cookiejar
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from backend.addresses import Reach, shorten
from backend.errors import ImageError, ImageTooLarge
from backend.guarded_transport import REACH, GuardedTransport, Resolve

# httpx logs every address at INFO, the signatures of pre-signed ones included.
logging.getLogger("httpx").setLevel(logging.WARNING)

_LONGEST_REASON: Final = 200


@dataclass(frozen=True)
class Deadline:
    """The moment at which work on one image must be over."""

    ends_at_s: float
    limit_s: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, limit_s: float, clock: Callable[[], float]) -> "Deadline":
        """The deadline `limit_s` seconds from now."""
        return cls(clock() + limit_s, limit_s, clock)

    def remaining_s(self) -> float:
        """Seconds left, 0 when none are."""
        return max(0.0, self.ends_at_s - self.clock())


@dataclass(frozen=True)
class Answer:
    """What a server said. The body is read only when the status is 2xx."""

    status: int
    headers: httpx.Headers
    body: bytes


class WebClient:
    """Thread-safe sender of bounded requests."""

    def __init__(self, *, resolve: Resolve) -> None:
        """Open the pools; `resolve` gives the IP addresses of a host and port."""
        trusted = _trusted_authorities()
        no_cookies = http.cookiejar.CookieJar(
            http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        )
        self._client = httpx.Client(
            transport=GuardedTransport(
                named=httpx.HTTPTransport(verify=trusted, trust_env=False),
                pinned=httpx.HTTPTransport(
                    verify=trusted,
                    trust_env=False,
                    limits=httpx.Limits(max_keepalive_connections=0),
                ),
                resolve=resolve,
            ),
            trust_env=False,
            cookies=no_cookies,
            follow_redirects=False,
            # A compressed body could grow past any limit in one step.
            headers={"Accept-Encoding": "identity", "User-Agent": "diffsegmenter"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def send(
        self,
        method: str,
        url: httpx.URL,
        *,
        reach: Reach,
        deadline: Deadline,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """Send one request and read its answer.

        The deadline is looked at after every piece of the body, and bounds each
        single wait before that.

        Raises:
            ImageRefused: if the host is out of reach.
            ImageTooLarge: if the body is larger than `max_bytes`.
            ImageError: if no whole answer came, for whatever reason.
        """
        request = self._client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            json=json,
            timeout=max(deadline.remaining_s(), 0.001),
            extensions={REACH: reach},
        )
        try:
            response = self._client.send(request, stream=True)
            try:
                body = b""
                if response.is_success:
                    body = _read_body(response, deadline, max_bytes)
                return Answer(response.status_code, response.headers, body)
            finally:
                response.close()
        except httpx.TimeoutException as e:
            raise _too_slow(url, deadline) from e
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
            # UnicodeError: httpx looks into a redirect's host even without following.
            reason = str(e)[:_LONGEST_REASON] or type(e).__name__
            raise ImageError(
                f"{shorten(str(url))} cannot be read: {reason}. Check that this "
                f"backend reaches {url.host!r}; in a container, localhost is the "
                f"container itself."
            ) from e


@functools.cache
def _trusted_authorities() -> ssl.SSLContext:
    """Certificate authorities; reading them takes a tenth of a second.

    Like every TLS program, httpx heeds SSL_CERT_FILE and SSL_CERT_DIR here.
    """
    return httpx.create_ssl_context()


def _read_body(response: httpx.Response, deadline: Deadline, max_bytes: int) -> bytes:
    """Collect the body, giving up as soon as a limit is passed."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise ImageError(
            f"{shorten(str(response.request.url))} came with the content encoding "
            f"{encoding[:40]!r}, which was not asked for. Switch compression off "
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
        if deadline.remaining_s() == 0:
            raise _too_slow(response.request.url, deadline)
    return bytes(body)


def _too_large(url: httpx.URL, size: str, max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"{shorten(str(url))} has {size} bytes; the limit is {max_bytes:,}. "
        f"Use a smaller copy or raise IMAGE_MAX_BYTES."
    )


def _too_slow(url: httpx.URL, deadline: Deadline) -> ImageError:
    return ImageError(
        f"{shorten(str(url))} did not arrive within {deadline.limit_s:g} s. "
        f"Check the server, or raise FETCH_TIMEOUT_S."
    )
