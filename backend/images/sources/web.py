"""Addresses on Label Studio, in its cloud storages, and on other web servers.

Follows redirects one by one, each within the networks that its URL may reach; sends
the token to Label Studio's files and nowhere else.
"""

from typing import Final

import httpx

from backend.deadline import Deadline
from backend.errors import ImageError, ImageRefused
from backend.http import (
    EXCERPT_BYTES,
    HttpClient,
    NetworkScope,
    Response,
    quote_line,
    shorten,
)
from backend.images.slow_hosts import HostCircuitBreakers
from backend.images.source import ImageRequest, SourceLimits
from backend.images.status_errors import explain_status
from backend.label_studio import (
    TokenProvider,
    image_errors,
    is_untrusted_label_studio,
    locate,
    network_scope,
    parse_image_url,
    takes_token,
)
from backend.types import LabelStudioAccess

# It takes, or refuses, whatever the others have left.
ORDER: Final = 100

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# After these, the next URL of an address is tried. 400 is what Label Studio says of
# uploads when it keeps them elsewhere than it was asked for.
_NOT_HERE: Final = frozenset({400, 404, 410})
_HOW_TO_TRUST: Final = (
    "Or set BASIC_AUTH_USER and BASIC_AUTH_PASS: then the address that Label Studio "
    "sends with /setup is believed in private networks too."
)


class _Web:
    """Reads from servers. Any thread may call."""

    def __init__(self, limits: SourceLimits) -> None:
        self._limits = limits
        self._http = HttpClient(resolve=limits.resolve)
        self._tokens = TokenProvider(self._http, limits.clock, limits.image_hosts)
        self._slow_hosts = HostCircuitBreakers(limits.clock)

    def read(self, request: ImageRequest) -> bytes:
        """See `Source`; what is no address of this kind is refused."""
        address, access = request.address, request.access
        urls = locate(address, access, task_id=request.task_id)
        for url in urls:
            response, end = self._follow(url, access, request.deadline)
            if response.status not in _NOT_HERE:
                break
        if not response.is_success:
            raise explain_status(
                response.status,
                end,
                address=address,
                access=access,
                said=quote_line(response.body),
            )
        return response.body

    def _follow(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> tuple[Response, httpx.URL]:
        """Go where redirects lead; the last response, and who gave it."""
        for _ in range(self._limits.max_redirects + 1):
            response = self._ask(url, access, deadline)
            if response.status not in _REDIRECTS:
                return response, url
            url = _redirect_target(response, url)
        raise ImageError(
            f"{shorten(str(url))} is the end of more than {self._limits.max_redirects} "
            f"redirects. Import the address that they lead to, or raise "
            f"IMAGE_MAX_REDIRECTS."
        )

    def _ask(
        self, url: httpx.URL, access: LabelStudioAccess, deadline: Deadline
    ) -> Response:
        """Send one GET, unless its host hangs."""
        scope = network_scope(url, access, self._limits.image_hosts)
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
                max_bytes=self._limits.max_bytes,
                excerpt_bytes=EXCERPT_BYTES,
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


def open_source(limits: SourceLimits) -> _Web:
    """See `open_sources`."""
    return _Web(limits)


def _redirect_target(response: Response, url: httpx.URL) -> httpx.URL:
    try:
        target = url.join(response.headers["Location"])
    except (KeyError, httpx.InvalidURL, UnicodeError) as e:
        raise ImageError(
            f"{shorten(str(url))} answered {response.status} without an address to go "
            f"on to. Import the address of the image itself."
        ) from e
    return parse_image_url(str(target))
