"""Label Studio tokens in, Authorization headers out.

A legacy token goes out as it is. A personal access token is a refresh token in
JWT form, which opens nothing by itself: Label Studio exchanges it for an access
token that lives 300 s, kept here until shortly before its end.
"""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from backend.addresses import parse_url, reach_of, shorten
from backend.errors import ImageError, ImageUnauthorized
from backend.values import LabelStudioAccess
from backend.web_client import Deadline, WebClient

# An access token is renewed this long before its end, and a short-lived one when
# a quarter of its life is left.
_MARGIN_S: Final = 60.0
# Life of Label Studio's access tokens, when one does not say.
_USUAL_LIFE_S: Final = 300.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class _AccessToken:
    text: str
    renew_at_s: float


class TokenDesk:
    """Thread-safe source of Authorization headers for any number of tokens."""

    def __init__(self, web: WebClient, clock: Callable[[], float]) -> None:
        """Exchange tokens through `web`; `clock` gives monotonic seconds."""
        self._web = web
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: dict[tuple[str, str], _AccessToken] = {}

    def header(self, access: LabelStudioAccess, deadline: Deadline) -> str | None:
        """Value of the Authorization header, None when there is no token.

        Raises:
            ImageUnauthorized: if the token cannot be one, or is not exchanged.
            ImageError: if Label Studio does not answer.
        """
        if access.url is None or access.token is None:
            return None
        if not _SENDABLE.fullmatch(access.token):
            raise ImageUnauthorized(
                f"The token for {shorten(access.url)} holds spaces or characters that "
                f"no token has. Copy it again into LABEL_STUDIO_API_KEY."
            )
        kind = _claims(access.token).get("token_type")
        if kind == "refresh":
            return f"Bearer {self._access_token(access.url, access, deadline)}"
        return f"{'Bearer' if kind == 'access' else 'Token'} {access.token}"

    def forget(self, access: LabelStudioAccess) -> bool:
        """Drop what was exchanged for a token; say whether there was anything."""
        with self._lock:
            return self._issued.pop(_key(access), None) is not None

    def _access_token(
        self, url: str, access: LabelStudioAccess, deadline: Deadline
    ) -> str:
        now = self._clock()
        with self._lock:
            issued = self._issued.get(_key(access))
        if issued is not None and now < issued.renew_at_s:
            return issued.text
        # Not under the lock: one slow Label Studio must not stop the others. Two
        # threads may then both exchange, which is harmless.
        text = self._exchange(url, access, deadline)
        fresh = _AccessToken(text, now + _usable_life_s(text))
        with self._lock:
            self._issued = {
                key: token
                for key, token in self._issued.items()
                if now < token.renew_at_s
            }
            self._issued[_key(access)] = fresh
        return text

    def _exchange(self, url: str, access: LabelStudioAccess, deadline: Deadline) -> str:
        endpoint = parse_url(f"{url.rstrip('/')}/api/token/refresh/")
        answer = self._web.send(
            "POST",
            endpoint,
            reach=reach_of(endpoint, access, ()),
            deadline=deadline,
            max_bytes=_MAX_ANSWER_BYTES,
            json={"refresh": access.token},
        )
        if answer.status in {400, 401, 403, 404}:
            raise ImageUnauthorized(
                f"{shorten(url)} answered {answer.status} when the personal access "
                f"token was to be exchanged: it is revoked, expired, incomplete or of "
                f"another Label Studio. Create a new one and set LABEL_STUDIO_API_KEY."
            )
        try:
            text = json.loads(answer.body)["access"]
            if not _SENDABLE.fullmatch(text):
                raise ValueError("not a token")
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise ImageError(
                f"{shorten(url)} answered {answer.status} without an access token when "
                f"the personal access token was to be exchanged. Set LABEL_STUDIO_URL "
                f"to the address that Label Studio itself has, without redirects."
            ) from e
        return str(text)


def _key(access: LabelStudioAccess) -> tuple[str, str]:
    return access.url or "", access.token or ""


def _usable_life_s(token: str) -> float:
    """Seconds to use an access token, by its own count: clocks may differ."""
    claims = _claims(token)
    try:
        life_s = float(claims["exp"]) - float(claims["iat"])
    except (KeyError, TypeError, ValueError):
        life_s = _USUAL_LIFE_S
    return life_s - min(_MARGIN_S, life_s / 4)


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, read and not verified; empty for other tokens."""
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims = json.loads(decoded)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
