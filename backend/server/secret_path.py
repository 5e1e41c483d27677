"""A secret as the first part of the path: what Label Studio can be made to send.

It sends no password with webhooks, but it builds their address from the backend's:
connected as `http://backend:9090/<secret>`, it calls `/<secret>/webhook`, and all else
below `/<secret>/` too. A query would not survive.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import Any, Final

from flask import Flask, request

_KNOWN: Final = "diffsegmenter.knows_secret"

_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def serve_below(app: Flask, secret: str) -> None:
    """Serve everything below `/<secret>/` as well."""
    inner: _Wsgi = app.wsgi_app

    def strip(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        first, slash, rest = environ.get("PATH_INFO", "").lstrip("/").partition("/")
        if slash and _same(first, secret):
            environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/{first}"
            environ["PATH_INFO"] = f"/{rest}"
            environ[_KNOWN] = True
        return inner(environ, start_response)

    app.wsgi_app = strip  # type: ignore[method-assign]


def knows_secret(secret: str) -> bool:
    """Whether the request has it, in its path or as `?secret=`."""
    in_query = _same(request.args.get("secret", ""), secret)
    return in_query or request.environ.get(_KNOWN, False) is True


def _same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
