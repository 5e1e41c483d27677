"""Who may use the page, and what its answers tell a browser to keep to.

A page of the internet can have the browser of somebody on this machine send requests
here, but can neither read this page nor add a header of its own. So every POST bears a
token out of the page, and the origin that the browser names must be the page's own.

A name that leads here first and elsewhere before (DNS rebinding) makes a foreign page
one of ours, by that name. What only trusted people may see is therefore shown without a
password at addresses of this machine alone.
"""

import hmac
import ipaddress
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Response, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.exceptions import Forbidden

TOKEN_HEADER: Final = "X-Page-Token"
_TOKEN_LASTS_S: Final = 24 * 3600
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


class PageGuard:
    """Looks at requests of the page. Any thread may call.

    Args:
        has_password: whether whoever gets here has sent one.
        is_on_loopback: whether the server listens to this machine alone.
    """

    def __init__(self, *, has_password: bool, is_on_loopback: bool) -> None:
        self._has_password = has_password
        self._is_on_loopback = is_on_loopback
        self._signer = URLSafeTimedSerializer(secrets.token_bytes(32), salt="page")

    def new_token(self) -> str:
        """What the page's POSTs must bear, for a day, until this process ends."""
        return self._signer.dumps(secrets.token_urlsafe(8))

    def check_post(self) -> None:
        """Refuse a POST that does not come from the page.

        Raises:
            Forbidden: saying what to do.
        """
        if request.method != "POST":
            return
        origin = request.headers.get("Origin")
        if origin is not None and not _is_same(urlsplit(origin).netloc, request.host):
            raise Forbidden(
                "Another page may not send requests here. If this is the page itself, "
                "behind a proxy, the proxy changes the Host: for nginx, add "
                "`proxy_set_header Host $http_host;`."
            )
        try:
            self._signer.loads(
                request.headers.get(TOKEN_HEADER, ""), max_age=_TOKEN_LASTS_S
            )
        except BadSignature as error:
            raise Forbidden(
                "The page is older than a day, or than this server. Load it again."
            ) from error

    @property
    def is_trusted(self) -> bool:
        """Whether the sender may see what the backend can read for them."""
        if self._has_password:
            return True
        return self._is_on_loopback and _is_local_name(request.host)

    def check_trusted(self) -> None:
        """Refuse what is for trusted senders alone.

        Raises:
            Forbidden: saying what makes one.
        """
        if not self.is_trusted:
            raise Forbidden(
                "Addresses, tasks and projects are shown to trusted people alone. Set "
                "BASIC_AUTH_USER and BASIC_AUTH_PASS, or let the backend listen on "
                "HOST=127.0.0.1 and open the page as http://localhost."
            )


def shield(response: Response) -> Response:
    """Tell the browser to load from here alone, and to tell nobody where it was."""
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.lower().encode(), other.lower().encode())


def _is_local_name(host: str) -> bool:
    """Whether a host is a number, or localhost: no DNS server can make it one."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
