"""Label Studio's API: a request in, a Reply or a NoReply out.

Refusals come with their text, redirects are not followed, and nothing is raised.
"""

import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from backend.deadline import Deadline
from backend.errors import (
    HttpError,
    HttpTimeout,
    ImageError,
    ImageTooSlow,
    ResponseTooLarge,
    causes,
)
from backend.http import HttpClient, NetworkScope, parse_url
from backend.label_studio.auth import TokenProvider
from backend.types import LabelStudioAccess

DEFAULT_TIMEOUT_S: Final = 10.0
MAX_BODY_BYTES: Final = 32 * 1024 * 1024

Cause = Literal[
    "name", "refused", "timeout", "certificate", "not-tls", "token", "other"
]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answered.

    Attributes:
        status: of HTTP.
        body: its JSON, None where it is none.
        media_type: such as "text/html".
        location: where a redirect leads.
        is_cut: whether there was more of it than is read; then it has no body.
    """

    status: int
    body: Any = None
    media_type: str = ""
    location: str | None = None
    is_cut: bool = False

    @property
    def detail(self) -> str:
        """What Label Studio says in a refusal, or nothing."""
        if not isinstance(self.body, dict):
            return ""
        problems = self.body.get("validation_errors")
        if isinstance(problems, dict):
            found = problems.get("non_field_errors")
            problems = found if isinstance(found, list) else list(problems.items())
            return "; ".join(str(problem) for problem in problems)
        detail = self.body.get("detail")
        return detail if isinstance(detail, str) else ""

    @property
    def reason(self) -> str:
        """Why this is no answer to use."""
        return f"status {self.status}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class NoReply:
    """Why there is no answer.

    Attributes:
        cause: in one word.
        reason: in words for a person.
        is_final: whether asking again is of no use.
    """

    cause: Cause
    reason: str
    is_final: bool = False


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Reply | NoReply:
    """Send one request; `timeout_s` is for the whole answer to be here."""
    try:
        response = HttpClient().send(
            method,
            parse_url(url),
            scope=NetworkScope.ANYWHERE,  # the operator named the host
            deadline=Deadline.after(timeout_s, time.monotonic),
            max_bytes=MAX_BODY_BYTES,
            headers=headers,
            json=body,
            reads_refusals=True,
        )
    except ResponseTooLarge as error:
        return Reply(status=error.status, is_cut=True)
    except (HttpError, ValueError) as error:  # ValueError: the body is no JSON
        return _explain(error, timeout_s)
    return Reply(
        status=response.status,
        body=_json_of(response.body),
        media_type=response.headers.get("Content-Type", "").partition(";")[0],
        location=response.headers.get("Location"),
    )


class LabelStudioClient:
    """One Label Studio, asked as the owner of a token."""

    def __init__(self, access: LabelStudioAccess) -> None:
        """Prepare; nothing is asked yet.

        Args:
            access: with an address and a token.
        """
        self.access = access
        self._tokens = TokenProvider(HttpClient(), time.monotonic)

    def get(
        self, path: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Reply | NoReply:
        """Ask for "/api/...", below the address's sub-path."""
        return self._ask("GET", path, None, timeout_s)

    def post(self, path: str, body: Any, *, timeout_s: float = 30.0) -> Reply | NoReply:
        """Send JSON to "/api/..."."""
        return self._ask("POST", path, body, timeout_s)

    def patch(
        self, path: str, body: Any, *, timeout_s: float = 30.0
    ) -> Reply | NoReply:
        """Change what is at "/api/..."."""
        return self._ask("PATCH", path, body, timeout_s)

    def delete(
        self, path: str, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Reply | NoReply:
        """Delete what is at "/api/..."."""
        return self._ask("DELETE", path, None, timeout_s)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any,
        timeout_s: float,
        refused: str | None = None,
    ) -> Reply | NoReply:
        try:
            header = self._tokens.header(
                self.access,
                Deadline.after(timeout_s, time.monotonic),
                refused=refused,
            )
        except ImageError as error:
            # While Label Studio restarts, no token is exchanged either.
            may_pass = isinstance(error, ImageTooSlow) or type(error) is ImageError
            return NoReply(cause="token", reason=str(error), is_final=not may_pass)
        reply = ask(
            method,
            f"{self.access.url}{path}",
            headers={"Authorization": header} if header else None,
            body=body,
            timeout_s=timeout_s,
        )
        # An access token made from a personal one may end before its time.
        is_refused = isinstance(reply, Reply) and reply.status == 401
        if is_refused and header and header.startswith("Bearer ") and refused is None:
            return self._ask(method, path, body, timeout_s, refused=header)
        return reply


def _json_of(text: bytes) -> Any:
    """What it says, None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _explain(error: Exception, timeout_s: float) -> NoReply:
    if isinstance(error, HttpTimeout):
        return NoReply(cause="timeout", reason=f"no answer within {timeout_s:g} s")
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return NoReply(cause="name", reason="its host name cannot be resolved here")
        if isinstance(cause, ssl.SSLError):
            return _explain_tls(cause)
        if isinstance(cause, ConnectionRefusedError):
            return NoReply(cause="refused", reason="nothing listens there")
    told = error.__cause__ or error
    first_line = (str(told).splitlines() or [""])[0]
    return NoReply(cause="other", reason=first_line or type(told).__name__)


def _explain_tls(error: ssl.SSLError) -> NoReply:
    if error.reason == "WRONG_VERSION_NUMBER":
        return NoReply(cause="not-tls", reason="it does not speak https")
    why = getattr(error, "verify_message", "") or error.reason or "TLS fails"
    return NoReply(cause="certificate", reason=f"its certificate is refused ({why})")
