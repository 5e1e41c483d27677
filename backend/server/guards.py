"""Who is let in: looked at before anything of a request is read."""

import hmac
import logging
from collections.abc import Callable

from flask import Response, jsonify, request

from backend.server.secret_path import knows_secret

logger = logging.getLogger(__name__)


def refuse_web_pages() -> tuple[Response, int] | None:
    """Refuse what a web page sends from the browser of somebody on this machine.

    Servers, Label Studio among them, name no origin. A browser does with every POST,
    which it sends to loopback addresses too, for any page of the internet. Our own page
    has a guard of its own.
    """
    if request.blueprint == "page":
        return None
    if request.method != "POST" or "Origin" not in request.headers:
        return None
    message = "Web pages may not send requests here; Label Studio's server does."
    return jsonify({"error": {"type": "Forbidden", "message": message}}), 403


def basic_auth_check(user: str, password: str) -> Callable[[], Response | None]:
    """Refuse callers without the credentials, but for Label Studio's webhooks.

    Label Studio sends them with everything except annotation events.
    """

    def check() -> Response | None:
        if request.path == "/webhook":
            return None
        given = request.authorization
        is_known = (
            given is not None
            and given.type == "basic"
            and _same(given.username, user)
            and _same(given.password, password)
        )
        if is_known:
            return None
        refusal = jsonify(
            {
                "error": {
                    "type": "Unauthorized",
                    "message": "Wrong or missing user and password; enter "
                    "BASIC_AUTH_USER and BASIC_AUTH_PASS where the backend is "
                    "connected in Label Studio.",
                }
            }
        )
        refusal.status_code = 401
        refusal.headers["WWW-Authenticate"] = 'Basic realm="diffsegmenter"'
        return refusal

    return check


def webhook_secret_check(secret: str) -> Callable[[], tuple[Response, int] | None]:
    """Refuse webhooks of those who do not know the secret."""

    def check() -> tuple[Response, int] | None:
        if request.path != "/webhook" or knows_secret(secret):
            return None
        message = (
            "This webhook lacks WEBHOOK_SECRET. Connect the backend in Label Studio as "
            "http://<backend>/<secret>, or enter the webhook as "
            "http://<backend>/webhook?secret=<secret>."
        )
        logger.warning("/webhook refused: %s", message)
        return jsonify({"error": {"type": "Forbidden", "message": message}}), 403

    return check


def _same(given: str | None, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest((given or "").encode(), expected.encode())
