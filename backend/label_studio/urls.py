"""Which addresses are Label Studio's and its files', and how far one may reach.

Pure: a URL and a LabelStudioAccess in, whether it gets the token and which networks
a request for it may connect to.
"""

import re
from typing import Final

import httpx

from backend.errors import ImageRefused
from backend.http import (
    HostRule,
    NetworkScope,
    is_number,
    is_reserved,
    origin,
    shorten,
)
from backend.label_studio.image_errors import parse_image_url
from backend.types import LabelStudioAccess

# Where a path that is a file of Label Studio begins, behind any sub-path.
_OWN_FILES: Final = re.compile(
    r"/(?:data/upload/|data/local-files(?=[/?]|$)|storage-data/uploaded(?=[/?]|$)"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign)(?=[/?]|$))"
)


def own_file(path: str) -> str | None:
    """What of a path names a file of Label Studio, any sub-path left out.

    Args:
        path: without its query; as written or decoded.

    Returns:
        The end of the path, from `/data/upload/` or its like on; None where Label
        Studio serves no file, as anywhere below `/api/`.
    """
    found = _OWN_FILES.search(path)
    if found is None or ".." in _steps(path):
        return None
    if "api" in _steps(path[: found.start()].casefold()):
        return None
    return path[found.start() :]


def is_label_studio(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is on Label Studio, below its sub-path if it has one."""
    return access.url is not None and _is_below(url, access.url)


def takes_token(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is where Label Studio serves files.

    The token opens its whole API as well, where a GET may do more than read: one of
    a task can make Label Studio ask this backend for a prediction.
    """
    if access.url is None or not is_label_studio(url, access):
        return False
    sub_path = parse_image_url(access.url).path.rstrip("/")
    return own_file(url.path[len(sub_path) :]) is not None


def is_untrusted_label_studio(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the host is Label Studio's according to an untrusted `/setup`."""
    return (
        _is_label_studio_origin(url, access)
        and not access.from_environment
        and not access.may_be_private
    )


def is_external_url(url: httpx.URL, access: LabelStudioAccess) -> bool:
    """Say whether the URL is where Label Studio says that it is itself.

    No token goes there, as anybody may have said so.
    """
    try:
        return access.external_url is not None and _is_below(url, access.external_url)
    except ImageRefused:  # it is no address at all
        return False


def network_scope(
    url: httpx.URL, access: LabelStudioAccess, image_hosts: tuple[HostRule, ...]
) -> NetworkScope:
    """Decide how far a request for this URL may go.

    * Label Studio from the environment, and every host that `image_hosts` names by its
      number: anywhere.
    * Every host that `image_hosts` has by its name, or by a pattern of names: anywhere
      but link-local addresses and metadata services, as names lead where those want
      who give them.
    * Label Studio learned from `/setup`, where `access.may_be_private`: private
      networks too, but never link-local addresses and metadata services.
    * Every other host: the public internet, and nothing if there are rules.

    Raises:
        ImageRefused: if there are rules and none names the host.
    """
    is_home = _is_label_studio_origin(url, access)
    if is_home and access.from_environment:
        return NetworkScope.ANYWHERE
    naming = [rule for rule in image_hosts if rule.names(url)]
    if naming:
        by_number = any(rule.is_number for rule in naming)
        return NetworkScope.ANYWHERE if by_number else NetworkScope.NAMED
    if is_home and access.may_be_private:
        return NetworkScope.PRIVATE
    if image_hosts:
        if is_number(url.host) and is_reserved(url.host):
            raise ImageRefused(
                f"Host {url.host!r} of {shorten(str(url))!r} is link-local, or of a "
                f"cloud's metadata service. Images are not read there."
            )
        remedy = "or upload the image to Label Studio."
        if is_home:
            remedy = (
                "or, as this is Label Studio, set LABEL_STUDIO_URL to it, or set "
                "BASIC_AUTH_USER and BASIC_AUTH_PASS: an address that came with "
                "/setup is believed only where strangers cannot send it."
            )
        raise ImageRefused(
            f"Host {url.host!r} of {shorten(str(url))!r} is not among IMAGE_HOSTS. "
            f"Add {url.netloc.decode()} there, {remedy}"
        )
    return NetworkScope.PUBLIC


def _is_label_studio_origin(url: httpx.URL, access: LabelStudioAccess) -> bool:
    return access.url is not None and origin(url) == origin(parse_image_url(access.url))


def _is_below(url: httpx.URL, place: str) -> bool:
    home = parse_image_url(place)
    sub_path = home.path.rstrip("/")
    if origin(url) != origin(home) or not (url.path + "/").startswith(sub_path + "/"):
        return False
    # "/sub/%2e%2e/x" is another program's: servers decode before they walk up.
    return not sub_path or ".." not in _steps(url.path)


def _steps(path: str) -> list[str]:
    return re.split(r"[/\\]", path)
