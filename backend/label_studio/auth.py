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

from backend.deadline import Deadline
from backend.errors import ImageError, ImageTooSlow, ImageUnauthorized
from backend.http import HostRule, HttpClient, shorten
from backend.label_studio.image_errors import image_errors, parse_image_url
from backend.label_studio.urls import network_scope
from backend.types import LabelStudioAccess

# An access token is renewed this long before its end, and a short-lived one when
# a quarter of its life is left.
_MARGIN_S: Final = 60.0
# Life of Label Studio's access tokens, when one does not say.
_USUAL_LIFE_S: Final = 300.0
_MAX_RESPONSE_BYTES: Final = 64 * 1024
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


_Key = tuple[str, str]


@dataclass(frozen=True)
class _AccessToken:
    header: str
    renew_at_s: float

    def serves(self, now_s: float) -> bool:
        return now_s < self.renew_at_s


class TokenProvider:
    """Thread-safe source of Authorization headers for any number of tokens."""

    def __init__(
        self,
        http: HttpClient,
        clock: Callable[[], float],
        image_hosts: tuple[HostRule, ...] = (),
    ) -> None:
        """Exchange tokens through `http`; `clock` gives monotonic seconds.

        `image_hosts` are those of the fetcher: where it may read, it may exchange.
        """
        self._http = http
        self._clock = clock
        self._image_hosts = image_hosts
        self._lock = threading.Lock()
        self._issued: dict[_Key, _AccessToken] = {}
        self._being_exchanged: dict[_Key, threading.Event] = {}

    def header(
        self,
        access: LabelStudioAccess,
        deadline: Deadline,
        *,
        refused: str | None = None,
    ) -> str | None:
        """Value of the Authorization header, None when there is no token.

        Args:
            access: holds the token.
            deadline: for the exchange, should one be needed.
            refused: a header that Label Studio did not accept. It is not returned
                again as long as there is another way, which there is for personal
                access tokens only.

        Raises:
            ImageUnauthorized: if the token cannot be one, or is not exchanged.
            ImageTooSlow: if Label Studio does not answer in time.
            ImageError: if it does not answer as it should.
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
            return self._bearer(access.url, access, deadline, refused)
        return f"{'Bearer' if kind == 'access' else 'Token'} {access.token}"

    def _bearer(
        self,
        url: str,
        access: LabelStudioAccess,
        deadline: Deadline,
        refused: str | None,
    ) -> str:
        """The header of an access token, exchanged by one thread for all."""
        key = (url, access.token or "")
        while True:
            with self._lock:
                issued = self._issued.get(key)
                if issued and issued.serves(self._clock()) and issued.header != refused:
                    return issued.header
                done = self._being_exchanged.get(key)
                if done is None:
                    done = self._being_exchanged[key] = threading.Event()
                    break
            # Not under the lock: one slow Label Studio must not stop the others.
            if not done.wait(deadline.remaining_s()):
                raise ImageTooSlow(
                    f"{shorten(url)} did not exchange the personal access token within "
                    f"{deadline.limit_s:g} s. Check the server, or raise "
                    f"FETCH_TIMEOUT_S."
                )
        try:
            now = self._clock()
            text = self._exchange(url, access, deadline)
            fresh = _AccessToken(f"Bearer {text}", now + _usable_life_s(text))
            with self._lock:
                self._drop_old_tokens()
                self._issued[key] = fresh
            return fresh.header
        finally:
            with self._lock:
                del self._being_exchanged[key]
            done.set()

    def _drop_old_tokens(self) -> None:
        now = self._clock()
        for key in [key for key, old in self._issued.items() if not old.serves(now)]:
            del self._issued[key]

    def _exchange(self, url: str, access: LabelStudioAccess, deadline: Deadline) -> str:
        endpoint = parse_image_url(f"{url.rstrip('/')}/api/token/refresh/")
        with image_errors():
            response = self._http.send(
                "POST",
                endpoint,
                scope=network_scope(endpoint, access, self._image_hosts),
                deadline=deadline,
                max_bytes=_MAX_RESPONSE_BYTES,
                json={"refresh": access.token},
            )
        if response.status in {400, 401, 403}:
            raise ImageUnauthorized(
                f"{shorten(url)} answered {response.status} when the personal access "
                f"token was to be exchanged: it is revoked, expired, incomplete or of "
                f"another Label Studio. Create a new one and set LABEL_STUDIO_API_KEY."
            )
        if response.status == 404:
            raise ImageUnauthorized(
                f"{shorten(url)} answered 404 when the personal access token was to be "
                f"exchanged: no Label Studio with such tokens is there. Set "
                f"LABEL_STUDIO_URL to the address that Label Studio itself has, with "
                f"its sub-path if it has one."
            )
        try:
            text = json.loads(response.body)["access"]
            if not _SENDABLE.fullmatch(text):
                raise ValueError("not a token")
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise ImageError(
                f"{shorten(url)} answered {response.status} without an access token "
                f"when the personal access token was to be exchanged. Set "
                f"LABEL_STUDIO_URL to the address that Label Studio itself has, "
                f"without redirects."
            ) from e
        return str(text)


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
