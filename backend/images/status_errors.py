"""A server's status in, an ImageError in the words of who must act out.

Pure. What a status means depends on who answered (Label Studio, or the host that it
redirected to) and on what the task asked for: Label Studio answers 404 for a file
that is missing as for a storage that nobody added.
"""

from typing import Final

import httpx

from backend.errors import (
    ImageError,
    ImageMaybeDeleted,
    ImageNotFound,
    ImageUnauthorized,
)
from backend.http import shorten
from backend.label_studio import cloud_bucket, is_label_studio, local_file, takes_token
from backend.types import LabelStudioAccess

_LONGEST_SHOWN: Final = 120


def name_image(address: str, access: LabelStudioAccess) -> str:
    """A task's address for messages; a local file by its path, which is no secret."""
    path = local_file(address, access)
    if path is None:
        return shorten(address)
    if len(path) > _LONGEST_SHOWN:
        path = path[: _LONGEST_SHOWN - 3] + "..."
    return f"{shorten(address)} (file {path!r})"


def explain_status(
    status: int,
    url: httpx.URL,
    *,
    address: str,
    access: LabelStudioAccess,
    said: str = "",
) -> ImageError:
    """The refusal for a status that is neither 2xx nor a redirect.

    Args:
        status: of the last answer.
        url: which gave it, redirects followed.
        address: what the task holds.
        access: the Label Studio that the task comes from.
        said: a line of the answer's body; that of a host other than Label Studio is
            quoted.
    """
    if not is_label_studio(url, access):
        return _from_elsewhere(status, url, address, said)
    if not takes_token(url, access):
        return _from_other_page(status, url)
    shown = name_image(address, access)
    if status == 401:
        return ImageUnauthorized(
            f"{shown} may not be read (status 401): {_bad(access)}"
        )
    if status == 403:
        return ImageUnauthorized(
            f"{shown} may not be read (status 403). {_closed(address, access)}"
        )
    if status in {404, 410}:
        return ImageNotFound(
            f"{shown} is not there (status {status}). {_missing(address, access)}"
        )
    if status == 424:
        return ImageError(
            f"{shown} could not be read by Label Studio itself (status 424). Check the "
            f"keys of that storage in the project's Settings > Cloud Storage, and that "
            f"the file is in it."
        )
    answered = (
        f"{shown}: Label Studio answered with status {status} in place of an image."
    )
    if status == 500 and "/data/upload/" in url.path:
        return ImageMaybeDeleted(
            f"{answered} It does so for an upload that was deleted; if the file is "
            f"there, Label Studio's log says why."
        )
    return ImageError(f"{answered} Its log says why.")


def _from_other_page(status: int, url: httpx.URL) -> ImageError:
    """Label Studio's refusal where it serves no files, and got no token."""
    shown = shorten(str(url))
    remedy = (
        "Label Studio serves images at /data/upload/, /data/local-files/ and "
        "/tasks/<id>/resolve/; only there is the token sent. Check the task's data."
    )
    if status in {401, 403}:
        return ImageUnauthorized(f"{shown} may not be read (status {status}). {remedy}")
    if status in {404, 410}:
        return ImageNotFound(f"{shown} is not there (status {status}). {remedy}")
    return ImageError(
        f"{shown} answered with status {status} in place of an image. {remedy}"
    )


def _from_elsewhere(status: int, url: httpx.URL, address: str, said: str) -> ImageError:
    shown = shorten(str(url))
    quoted = f' The host says: "{said}".' if said else ""
    bucket = cloud_bucket(address)
    if status in {404, 410}:
        remedy = "Check the task's data."
        if bucket:
            remedy = (
                f"Check that the file is in {bucket!r}: Label Studio signs an address "
                f"without looking."
            )
        return ImageNotFound(
            f"{shown} is not there (status {status}).{quoted} {remedy}"
        )
    if status not in {401, 403}:
        return ImageError(
            f"{shown} answered with status {status} in place of an image.{quoted}"
        )
    if bucket:
        return ImageUnauthorized(
            f"{shown} may not be read (status {status}), though Label Studio signed "
            f"the address.{quoted} Check the keys of the storage of {bucket!r} in the "
            f"project's Settings > Cloud Storage, their right to read, and the clocks."
        )
    if said:
        remedy = "Ask those who keep the host, or import another copy of the image."
        if status == 401:
            remedy = "If this is Label Studio, set LABEL_STUDIO_URL to it."
        return ImageUnauthorized(
            f"{shown} may not be read (status {status}).{quoted} {remedy}"
        )
    return ImageUnauthorized(
        f"{shown} may not be read (status {status}). No token is sent there, as it "
        f"is not the address of Label Studio. A signed address may have expired; "
        f"if this is Label Studio, set LABEL_STUDIO_URL to it."
    )


def _bad(access: LabelStudioAccess) -> str:
    cause = "no token is set" if access.token is None else "the token is not accepted"
    return (
        f"{cause}. Set LABEL_STUDIO_API_KEY to a personal access token of a user who "
        f"sees the project. Legacy tokens work only while the organisation has legacy "
        f"tokens enabled, personal ones while it has those enabled."
    )


def _closed(address: str, access: LabelStudioAccess) -> str:
    if local_file(address, access) is not None:
        return (
            "Start Label Studio with LOCAL_FILES_SERVING_ENABLED=true, or share the "
            "folder with this backend and set LOCAL_FILES_DOCUMENT_ROOT."
        )
    return (
        "The token's user does not see the project. Set LABEL_STUDIO_API_KEY to a "
        "token of one who does."
    )


def _missing(address: str, access: LabelStudioAccess) -> str:
    bucket = cloud_bucket(address)
    if bucket:
        return (
            f"Label Studio finds no source storage of {bucket!r} in the project of the "
            f"task: add one in Settings > Cloud Storage. It need not be synced."
        )
    if local_file(address, access) is not None:
        return (
            "Label Studio serves a local file only when its folder lies below a Local "
            "Files source storage of a project that the token's user sees; add one in "
            "Settings > Cloud Storage. Or share the folder with this backend and set "
            "LOCAL_FILES_DOCUMENT_ROOT."
        )
    return (
        "Check the task's data, that the token's user sees the project, and that "
        "LABEL_STUDIO_URL has the sub-path of Label Studio, if it has one."
    )
