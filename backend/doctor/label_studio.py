"""Checks of Label Studio as the backend meets it: its address, and the token."""

import base64
import binascii
import json
import re
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from backend.doctor.findings import (
    Check,
    Finding,
    ok,
    problem,
    problem_of,
    skipped,
    warning,
)
from backend.doctor.machine import is_loopback, model_version_of
from backend.http import shorten
from backend.label_studio import LabelStudioClient, NoReply, Reply, ask
from backend.settings import Settings

_WHO_AM_I: Final = "/api/current-user/whoami"
# Pages of Label Studio 1.23.2; each is there only where its kind is allowed.
_PERSONAL_PAGE: Final = "Account & Settings > Personal Access Token"
_LEGACY_PAGE: Final = "Account & Settings > Legacy Token"
_SWITCHES: Final = "Organization > API Tokens Settings"
_GET_TOKEN: Final = (
    f"In Label Studio create a personal access token under {_PERSONAL_PAGE}, or copy "
    f"the legacy token under {_LEGACY_PAGE} (legacy tokens must be enabled in the "
    f"organization: {_SWITCHES}), and set LABEL_STUDIO_API_KEY to all of it."
)


def check_address(settings: Settings, *, is_needed: bool) -> Check[bool]:
    """Whether Label Studio's API is at LABEL_STUDIO_URL.

    Args:
        settings: of the operator.
        is_needed: whether something was asked for that cannot do without.

    Returns:
        Whether it is.
    """
    url, subject = settings.label_studio_url, "Label Studio"
    if url is None:
        yield (problem if is_needed else warning)(
            subject,
            "LABEL_STUDIO_URL is not set; the backend then uses the address that "
            "Label Studio sends, which inside a container is often localhost",
            "Set LABEL_STUDIO_URL to the address in your browser, for example "
            "http://localhost:8080.",
        )
        return False
    # Refused without a token, in JSON: which tells more than /health, since Label
    # Studio answers that below any path.
    reply = ask("GET", url + _WHO_AM_I)
    if isinstance(reply, NoReply):
        yield _unreachable(url, reply)
        return False
    if 300 <= reply.status < 400:
        yield _redirected(url, reply)
        return False
    if reply.status not in {200, 401, 403} or not isinstance(reply.body, dict):
        yield _not_label_studio(url, reply)
        return False
    version = ask("GET", f"{url}/api/version")
    told = version.body if isinstance(version, Reply) else None
    release = told.get("release") if isinstance(told, dict) else None
    yield ok(subject, f"version {release or 'unknown'} at {url}")
    return True


def check_token(
    settings: Settings, client: LabelStudioClient | None, *, is_needed: bool
) -> Check[bool]:
    """Whether LABEL_STUDIO_API_KEY opens Label Studio.

    Args:
        settings: of the operator.
        client: None where Label Studio is not reached.
        is_needed: whether something was asked for that cannot do without.

    Returns:
        Whether it does.
    """
    token = settings.label_studio_api_key
    if token is None:
        yield (problem if is_needed else warning)(
            "token",
            "LABEL_STUDIO_API_KEY is not set; the backend then uses the legacy token "
            "that Label Studio sends, which is void where legacy tokens are disabled",
            _GET_TOKEN,
        )
        return False
    kind = _token_kind(token.get_secret_value())
    if client is None:
        yield skipped("token", f"Label Studio is not reached; it is a {kind}")
        return False
    reply = client.get(_WHO_AM_I)
    if isinstance(reply, NoReply):
        if reply.cause == "token":
            refusal = problem_of("token", ValueError(reply.reason))
            yield replace(refusal, remedy=f"{refusal.remedy} {_GET_TOKEN}")
        else:
            yield problem("token", f"a {kind}; {reply.reason}", "Run this again.")
        return False
    if reply.status != 200 or not isinstance(reply.body, dict):
        yield _token_refused(kind, reply)
        return False
    user = reply.body.get("email") or reply.body.get("username") or "somebody"
    seen = f"a {kind} of {user}, accepted"
    if kind == _ACCESS_TOKEN:
        yield warning(
            "token",
            f"{seen}, but it ends within minutes",
            _GET_TOKEN,
        )
    else:
        yield ok("token", seen)
    return True


def _unreachable(url: str, reply: NoReply) -> Finding:
    remedies = {
        "name": "Correct the host in LABEL_STUDIO_URL; in docker compose it is the "
        "name of the service.",
        "refused": "Start Label Studio, or correct the port in LABEL_STUDIO_URL.",
        "timeout": "See whether a firewall is in between, and whether Label Studio "
        "is busy.",
        "certificate": "Set SSL_CERT_FILE to a file that holds the certificate of its "
        "authority.",
        "not-tls": f"Set LABEL_STUDIO_URL=http://{url.partition('://')[2]}",
    }
    remedy = remedies.get(reply.cause, "Correct LABEL_STUDIO_URL.")
    if is_loopback(urlsplit(url).hostname or ""):
        remedy += (
            " In a container localhost is the container itself: write "
            "host.docker.internal, or the name of the service."
        )
    return problem("Label Studio", f"{url} does not answer: {reply.reason}", remedy)


def _redirected(url: str, reply: Reply) -> Finding:
    target = urljoin(url + _WHO_AM_I, reply.location or "")
    base, tail, _ = target.partition(_WHO_AM_I)
    seen = f"{url} redirects to {shorten(target)}, where no token is sent"
    if not tail:
        return problem(
            "Label Studio",
            f"{seen}; that is not Label Studio's API",
            "Open the address in a browser, and set LABEL_STUDIO_URL to where Label "
            "Studio's own pages are; a login page in front must let the backend pass.",
        )
    return problem("Label Studio", seen, f"Set LABEL_STUDIO_URL={shorten(base)}")


def _not_label_studio(url: str, reply: Reply) -> Finding:
    if model_version_of(ask("GET", f"{url}/health")):
        return problem(
            "Label Studio",
            f"{url} is a backend's own address",
            "Set LABEL_STUDIO_URL to the address of Label Studio in your browser, for "
            "example http://localhost:8080.",
        )
    return problem(
        "Label Studio",
        f"{url} answers {reply.status} ({reply.media_type or 'no content'}) where "
        f"Label Studio's API would be",
        "Set LABEL_STUDIO_URL to the part of the address in your browser that is the "
        "same on all of Label Studio's pages, with a path only if it is served below "
        "one.",
    )


_LEGACY: Final = "legacy token"
_PERSONAL: Final = "personal access token"
_ACCESS_TOKEN: Final = "short-lived access token"
_UNKNOWN: Final = "token of unknown kind"


def _token_kind(token: str) -> str:
    """Tell kinds apart as `tokens.py` does: by the claims, which are not verified."""
    if re.fullmatch(r"[0-9a-f]{40}", token):
        return _LEGACY
    payload = ([*token.split("."), ""])[1]
    try:
        claims = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        kind = claims["token_type"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return _UNKNOWN
    return {"refresh": _PERSONAL, "access": _ACCESS_TOKEN}.get(kind, _UNKNOWN)


def _token_refused(kind: str, reply: Reply) -> Finding:
    if "legacy token" in reply.detail:
        return problem(
            "token",
            f"a {kind}, and legacy tokens are disabled in this organization",
            f"Enable legacy tokens under {_SWITCHES}, or create a personal access "
            f"token under {_PERSONAL_PAGE} and set LABEL_STUDIO_API_KEY to it.",
        )
    return problem("token", f"a {kind}, refused ({reply.reason})", _GET_TOKEN)
