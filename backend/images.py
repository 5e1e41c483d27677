"""Addresses of a task's images in, upright RGB pixels out.

Knows the order of the steps and what a server's status means. What an address
means is in `addresses.py`, one exchange in `web_client.py`, tokens in
`tokens.py`, file formats in `image_decoding.py`.
"""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import httpx

from backend.addresses import (
    SUPPORTED,
    HostRule,
    locate,
    parse_url,
    reach_of,
    shorten,
    takes_token,
)
from backend.errors import (
    ImageError,
    ImageNotFound,
    ImageRefused,
    ImageTooLarge,
    ImageUnauthorized,
    ImageUnreadable,
)
from backend.guarded_transport import Resolve, resolve_host
from backend.image_decoding import decode_image
from backend.tokens import TokenDesk
from backend.values import FetchedImage, LabelStudioAccess
from backend.web_client import Answer, Deadline, WebClient

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class ImageFetcher:
    """Thread-safe reader of images; close it when done."""

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_pixels: int = 100_000_000,
        timeout_s: float = 20.0,
        image_hosts: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        resolve: Resolve = resolve_host,
    ) -> None:
        """Set the limits of every fetch.

        Args:
            max_bytes: largest file.
            max_pixels: largest rows times columns.
            timeout_s: for one image, its redirects and token included.
            image_hosts: `host`, `host:port` or `*.suffix`: the only hosts to read
                from besides Label Studio, private ones included. Empty: any
                public host.
            clock: monotonic seconds.
            resolve: host and port -> IP addresses.

        Raises:
            ValueError: if an entry of `image_hosts` is no host.
        """
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._timeout_s = timeout_s
        self._image_hosts = tuple(HostRule.parse(entry) for entry in image_hosts)
        self._clock = clock
        self._web = WebClient(resolve=resolve)
        self._tokens = TokenDesk(self._web, clock)

    def close(self) -> None:
        """Close all connections."""
        self._web.close()

    def fetch(
        self, address: str, *, access: LabelStudioAccess, task_id: int | None = None
    ) -> FetchedImage:
        """Read one image.

        The token of `access` goes to `access.url` and nowhere else. `access` also
        widens where images may be, see `addresses.reach_of`.

        Args:
            address: a path on Label Studio, an http(s) address, a data: URI, or,
                with `task_id`, a cloud storage URI.
            access: the Label Studio that the task comes from.
            task_id: the task's id, None when unknown.

        Raises:
            ImageError: or one of its children. No message holds a token, password,
                query string or image.
        """
        address = address.strip()
        _refuse_half_characters(address)
        if address[:5].lower() == "data:":
            data = _decode_data_uri(address, self._max_bytes)
        else:
            url = locate(address, access, task_id=task_id)
            deadline = Deadline.after(self._timeout_s, self._clock)
            data = self._download(url, access, deadline)
        try:
            pixels = decode_image(data, max_pixels=self._max_pixels)
        except ImageError as e:
            raise type(e)(f"{shorten(address)}: {e}") from e
        return FetchedImage(pixels=pixels, digest=hashlib.sha256(data).hexdigest())

    def _download(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(url, access, deadline)
            if answer.status not in _REDIRECTS:
                _check_status(answer, url, access)
                return answer.body
            url = _redirect_target(answer, url)
        raise ImageError(
            f"{shorten(str(url))} is the end of more than {MAX_REDIRECTS} redirects. "
            f"Import the address that they lead to."
        )

    def _ask(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> Answer:
        """Send one GET, with a token if it is Label Studio's."""
        reach = reach_of(url, access, self._image_hosts)
        is_home = takes_token(url, access)
        if is_home:  # Else a user and password in the URL would displace the token.
            url = url.copy_with(username="", password="")

        def get(authorization: str | None) -> Answer:
            headers = {"Authorization": authorization} if authorization else {}
            return self._web.send(
                "GET",
                url,
                headers=headers,
                reach=reach,
                deadline=deadline,
                max_bytes=self._max_bytes,
            )

        if not is_home:
            return get(None)
        answer = get(self._tokens.header(access, deadline))
        if answer.status == 401 and self._tokens.forget(access):
            answer = get(self._tokens.header(access, deadline))
        return answer


def _refuse_half_characters(address: str) -> None:
    """JSON can spell a lone half of a surrogate pair, which no bytes can hold."""
    try:
        address.encode()
    except UnicodeEncodeError as e:
        raise ImageRefused(
            f"{shorten(address)!r} holds half a character at position {e.start}. "
            f"Import the address again."
        ) from e


def _decode_data_uri(address: str, max_bytes: int) -> bytes:
    head, comma, payload = address.partition(",")
    media_type, *parameters = (part.strip().lower() for part in head[5:].split(";"))
    if not comma or not media_type.startswith("image/"):
        raise ImageRefused(
            f"{shorten(address)!r} is not a data: URI of an image. {SUPPORTED}."
        )
    data = unquote_to_bytes(payload)
    if "base64" in parameters:
        compact = re.sub(rb"\s", b"", data).rstrip(b"=")
        try:
            data = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
        except binascii.Error as e:
            raise ImageUnreadable(
                f"{shorten(address)!r} is not valid base64: {e}. Import it again."
            ) from e
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"{shorten(address)!r} holds {len(data):,} bytes; the limit is "
            f"{max_bytes:,}. Use a smaller copy or raise IMAGE_MAX_BYTES."
        )
    return data


def _redirect_target(answer: Answer, url: httpx.URL) -> httpx.URL:
    try:
        target = url.join(answer.headers["Location"])
    except (KeyError, httpx.InvalidURL, UnicodeError) as e:
        raise ImageError(
            f"{shorten(str(url))} answered {answer.status} without an address to go "
            f"on to. Import the address of the image itself."
        ) from e
    return parse_url(str(target))


def _check_status(answer: Answer, url: httpx.URL, access: LabelStudioAccess) -> None:
    """Refuse every answer but 2xx, in the words of who must act."""
    status, shown = answer.status, shorten(str(url))
    if 200 <= status < 300:
        return
    if status in {404, 410}:
        raise ImageNotFound(
            f"{shown} is not there (status {status}). Check the task's data and, on "
            f"Label Studio, that the token's user sees the project."
        )
    if status not in {401, 403}:
        raise ImageError(f"{shown} answered with status {status} in place of an image.")
    if not takes_token(url, access):
        raise ImageUnauthorized(
            f"{shown} may not be read (status {status}). No token is sent there, as it "
            f"is not the address of Label Studio. A signed address may have expired; "
            f"if this is Label Studio, set LABEL_STUDIO_URL to it."
        )
    cause = "no token is set" if access.token is None else "the token is not accepted"
    raise ImageUnauthorized(
        f"{shown} may not be read (status {status}): {cause}. Set LABEL_STUDIO_API_KEY "
        f"to a personal access token of a user who sees the project. A legacy token "
        f"works only while the organisation has legacy tokens enabled."
    )
