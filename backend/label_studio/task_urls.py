"""What a task says about its image in, where to ask for it out.

Pure: knows which addresses Label Studio writes into tasks, and how they change
when it is served below a sub-path (`https://my.org/label-studio`). Whether an
address may be asked is decided in `urls.py`.
"""

import base64
import re
from typing import Final
from urllib.parse import parse_qs, quote

import httpx

from backend.errors import ImageNotFound, ImageRefused
from backend.http import origin, shorten
from backend.label_studio.image_errors import SUPPORTED, parse_image_url
from backend.label_studio.urls import is_external_url, is_label_studio, own_file
from backend.types import LabelStudioAccess

_CLOUD_SCHEMES: Final = frozenset({"s3", "gs", "azure-blob"})
_LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# What a task holds of an upload in a Label Studio that keeps uploads in a bucket.
_STORED_UPLOAD: Final = re.compile(r"upload/\d+/.+")


def locate(
    address: str, access: LabelStudioAccess, *, task_id: int | None = None
) -> tuple[httpx.URL, ...]:
    """Turn a task's text into the URLs to ask, in the order to try them.

    A path is Label Studio's, and so is the address of one of its files at
    `access.external_url`, or on a loopback host: Label Studio writes that when its own
    host is not configured. A cloud storage URI is asked for from Label Studio, which
    holds the keys.

    There is a second URL when a path holds another sub-path than `access.url`
    (depending on the proxy before it, Label Studio answers with it or without), and
    for an upload by its bare name (depending on where Label Studio keeps uploads).

    Args:
        address: a path, an http(s) address or a cloud storage URI.
        access: the Label Studio that the task comes from.
        task_id: the task, without which cloud storage cannot be read.

    Raises:
        ImageNotFound: if the address is blank.
        ImageRefused: if it is of another kind, or Label Studio is needed and its
            address unknown.
    """
    if not address:
        raise ImageNotFound("The task names no image: its address is empty.")
    if _STORED_UPLOAD.fullmatch(address):
        # In this order because the first is what Label Studio's own pages ask for.
        return tuple(
            url
            for path in ("/storage-data/uploaded/?filepath=", "/data/")
            for url in _on_label_studio(path + quote(address), access)
        )
    own_path = _path_on_label_studio(address, access)
    if own_path is not None:
        return _on_label_studio(own_path, access)
    if cloud_bucket(address) is not None:
        return _on_label_studio(_presign_path(address, task_id), access)
    if not _is_web(address):
        raise ImageRefused(
            f"{shorten(address)!r} is not an address this backend reads. {SUPPORTED}"
        )
    return (parse_image_url(address),)


def local_file(address: str, access: LabelStudioAccess) -> str | None:
    """The file that an address of Label Studio's local-files storage names.

    Read as Label Studio's own view reads `?d=`: decoded once, "+" for a space, the
    last one counts.

    Returns:
        The path as the address has it, to be read below LOCAL_FILES_DOCUMENT_ROOT;
        None for an address of another kind, or one that names no file.

    Raises:
        ImageRefused: if it cannot be read as an address.
    """
    own_path = _path_on_label_studio(address, access)
    if own_path is None:
        return None
    url = parse_image_url("http://label-studio" + own_path)
    own = own_file(url.path)
    if own is None or not re.match(r"/data/local-files(/|$)", own):
        return None
    values = parse_qs(url.query.decode("ascii"), keep_blank_values=True).get("d", [""])
    return values[-1] or None


def cloud_bucket(address: str) -> str | None:
    """The bucket of a cloud storage URI as `s3://bucket`, None for other addresses."""
    scheme, _, rest = address.partition(":")
    if scheme.lower() not in _CLOUD_SCHEMES:
        return None
    bucket = re.split(r"[/?#]", rest.removeprefix("//"), maxsplit=1)[0]
    return shorten(f"{scheme}://{bucket}")


def _is_web(address: str) -> bool:
    return address.partition(":")[0].lower() in {"http", "https"}


def _path_on_label_studio(address: str, access: LabelStudioAccess) -> str | None:
    """Path and query, if the address is one of Label Studio's."""
    if address.startswith("/") and not address.startswith("//"):
        return address
    if not _is_web(address):
        return None
    url = parse_image_url(address)
    is_own = is_label_studio(url, access) or (
        access.url is not None
        and own_file(url.path) is not None
        and (origin(url)[1] in _LOOPBACK_HOSTS or is_external_url(url, access))
    )
    return url.raw_path.decode("ascii") if is_own else None


def _presign_path(uri: str, task_id: int | None) -> str:
    if task_id is None:
        raise ImageRefused(
            f"{shorten(uri)!r} is in cloud storage, which Label Studio opens for a "
            f"task that it knows by its id; this task has none. Import it first."
        )
    encoded = base64.urlsafe_b64encode(uri.encode()).decode()
    return f"/tasks/{task_id}/presign/?fileuri={encoded}"


def _on_label_studio(path: str, access: LabelStudioAccess) -> tuple[httpx.URL, ...]:
    if access.url is None:
        raise ImageRefused(
            f"{shorten(path)!r} is on Label Studio, whose address is unknown. "
            f"Set LABEL_STUDIO_URL to the address at which this backend reaches it."
        )
    home = parse_image_url(access.url)
    sub_path = home.path.rstrip("/")
    root = str(
        home.copy_with(raw_path=b"/", fragment=None, username="", password="")
    ).rstrip("/")
    bare_path, mark, query = path.partition("?")
    own = own_file(bare_path)
    without_prefix = path if own is None else own + mark + query
    if not path.startswith(sub_path + "/"):
        path = sub_path + path
    paths = dict.fromkeys([path, sub_path + without_prefix])
    return tuple(parse_image_url(root + path) for path in paths)
