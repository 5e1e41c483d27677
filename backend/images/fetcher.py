"""Addresses of a task's images in, upright RGB pixels out.

Knows the order of the steps. What an address means and who gets a token is known to
`backend.label_studio`, one exchange to `backend.http`; files of a shared folder are in
`local_files.py`, what a status means in `status_errors.py`, file formats in
`decoding.py`.
"""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import httpx

from backend.deadline import Deadline
from backend.errors import ImageError, ImageRefused, ImageTooLarge, ImageUnreadable
from backend.http import (
    HostRule,
    HttpClient,
    NetworkScope,
    Resolve,
    Response,
    resolve_host,
    shorten,
)
from backend.images.decoding import check_formats, decode_image
from backend.images.local_files import LocalFiles
from backend.images.slow_hosts import HostCircuitBreakers
from backend.images.status_errors import explain_status, name_image
from backend.label_studio import (
    SUPPORTED,
    TokenProvider,
    image_errors,
    is_untrusted_label_studio,
    local_file,
    locate,
    network_scope,
    parse_image_url,
    takes_token,
)
from backend.types import IMAGE_FORMATS, FetchedImage, LabelStudioAccess

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# After these, the next URL of an address is tried. 400 is what Label Studio says of
# uploads when it keeps them elsewhere than it was asked for.
_NOT_HERE: Final = frozenset({400, 404, 410})
_HOW_TO_TRUST: Final = (
    "Or set BASIC_AUTH_USER and BASIC_AUTH_PASS: then the address that Label Studio "
    "sends with /setup is believed in private networks too."
)


class ImageFetcher:
    """Thread-safe reader of images."""

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_pixels: int = 100_000_000,
        timeout_s: float = 20.0,
        max_redirects: int = 5,
        formats: Sequence[str] = IMAGE_FORMATS,
        image_hosts: Sequence[str] = (),
        local_files_root: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        resolve: Resolve = resolve_host,
    ) -> None:
        """Set the limits of every fetch.

        Args:
            max_bytes: largest file.
            max_pixels: largest rows times columns.
            timeout_s: for one image, its redirects and token included.
            max_redirects: how many are followed for one image.
            formats: allowed kinds of files, some of `IMAGE_FORMATS`.
            image_hosts: `host`, `host:port` or `*.suffix`: the only hosts to read
                from besides Label Studio, private ones included. Empty: any
                public host.
            local_files_root: the folder that Label Studio knows as its
                LOCAL_FILES_DOCUMENT_ROOT, where it is shared with this backend.
                What is not in it is asked from Label Studio.
            clock: monotonic seconds.
            resolve: host and port -> IP addresses.

        Raises:
            ValueError: if an entry of `image_hosts` is no host, a format is unknown
                or `local_files_root` is the whole file system.
        """
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._formats = check_formats(formats)
        self._image_hosts = tuple(HostRule.parse(entry) for entry in image_hosts)
        self._local_files = (
            LocalFiles(local_files_root, max_bytes=max_bytes)
            if local_files_root
            else None
        )
        self._clock = clock
        self._http = HttpClient(resolve=resolve)
        self._tokens = TokenProvider(self._http, clock, self._image_hosts)
        self._slow_hosts = HostCircuitBreakers(clock)

    def fetch(
        self, address: str, *, access: LabelStudioAccess, task_id: int | None = None
    ) -> FetchedImage:
        """Read one image.

        The token of `access` goes to files below `access.url` and nowhere else.
        `access` also widens where images may be, see `network_scope`.

        Args:
            address: a path on Label Studio, an http(s) address, a data: URI, or,
                with `task_id`, a cloud storage URI.
            access: the Label Studio that the task comes from.
            task_id: the task's id, None when unknown.

        Raises:
            ImageError: or one of its children. No message holds a token, password,
                query string or image.
        """
        try:
            return self._fetch(address.strip(), access, task_id)
        except ImageError as e:
            _drop_frames(e)
            raise

    def _fetch(
        self, address: str, access: LabelStudioAccess, task_id: int | None
    ) -> FetchedImage:
        _refuse_half_characters(address)
        data = self._read(address, access, task_id)
        try:
            pixels = decode_image(
                data, max_pixels=self._max_pixels, formats=self._formats
            )
        except ImageError as e:
            raise type(e)(f"{name_image(address, access)}: {e}") from e
        return FetchedImage(pixels=pixels, digest=hashlib.sha256(data).hexdigest())

    def _read(
        self, address: str, access: LabelStudioAccess, task_id: int | None
    ) -> bytes:
        if address[:5].lower() == "data:":
            return _decode_data_uri(address, self._max_bytes)
        deadline = Deadline.after(self._timeout_s, self._clock)
        if self._local_files is not None:
            path = local_file(address, access)
            data = None if path is None else self._local_files.read(path, deadline)
            if data is not None:
                return data
        return self._download(address, access, task_id, deadline)

    def _download(
        self,
        address: str,
        access: LabelStudioAccess,
        task_id: int | None,
        deadline: Deadline,
    ) -> bytes:
        urls = locate(address, access, task_id=task_id)
        for url in urls:
            response, end = self._follow(url, access, deadline)
            if response.status not in _NOT_HERE:
                break
        if not response.is_success:
            raise explain_status(response.status, end, address=address, access=access)
        return response.body

    def _follow(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> tuple[Response, httpx.URL]:
        """Go where redirects lead; the last response, and who gave it."""
        for _ in range(self._max_redirects + 1):
            response = self._ask(url, access, deadline)
            if response.status not in _REDIRECTS:
                return response, url
            url = _redirect_target(response, url)
        raise ImageError(
            f"{shorten(str(url))} is the end of more than {self._max_redirects} "
            f"redirects. Import the address that they lead to, or raise "
            f"IMAGE_MAX_REDIRECTS."
        )

    def _ask(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> Response:
        """Send one GET, unless its host hangs."""
        scope = network_scope(url, access, self._image_hosts)
        try:
            with self._slow_hosts.asking(url, deadline), image_errors():
                return self._get(url, access, scope, deadline)
        except ImageRefused as e:
            if is_untrusted_label_studio(url, access):
                raise ImageRefused(f"{e} {_HOW_TO_TRUST}") from e
            raise

    def _get(
        self,
        url: httpx.URL,
        access: LabelStudioAccess,
        scope: NetworkScope,
        deadline: Deadline,
    ) -> Response:
        """Send one GET, with a token if it is for a file of Label Studio's."""
        with_token = takes_token(url, access)
        if with_token:  # There, a user and password of the URL are of no use.
            url = url.copy_with(username="", password="")

        def get(authorization: str | None) -> Response:
            headers = {"Authorization": authorization} if authorization else {}
            return self._http.send(
                "GET",
                url,
                headers=headers,
                scope=scope,
                deadline=deadline,
                max_bytes=self._max_bytes,
            )

        if not with_token:
            return get(None)
        sent = self._tokens.header(access, deadline)
        response = get(sent)
        if response.status == 401:
            renewed = self._tokens.header(access, deadline, refused=sent)
            if renewed != sent:
                response = get(renewed)
        return response


def _drop_frames(error: BaseException | None) -> None:
    """Let go of the stacks below a refusal, which hold what was read of the file.

    A refusal is kept until its request is answered, and its message says it all.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


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
            f"{shorten(address)!r} is not a data: URI of an image. {SUPPORTED}"
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


def _redirect_target(response: Response, url: httpx.URL) -> httpx.URL:
    try:
        target = url.join(response.headers["Location"])
    except (KeyError, httpx.InvalidURL, UnicodeError) as e:
        raise ImageError(
            f"{shorten(str(url))} answered {response.status} without an address to go "
            f"on to. Import the address of the image itself."
        ) from e
    return parse_image_url(str(target))
