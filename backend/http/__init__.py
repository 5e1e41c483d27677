"""One bounded, address-checked HTTP exchange, and web addresses.

In: a URL, how far a request may reach, a deadline and a size limit. Out: a response,
or an `HttpError` that says what failed. Refuses to know what is fetched and for whom:
it follows no redirect, keeps no cookie and holds no token.
"""

from backend.http.client import HttpClient, Response, basic_auth
from backend.http.excerpts import EXCERPT_BYTES, quote_line
from backend.http.network import Resolve, resolve_host
from backend.http.urls import (
    HostRule,
    NetworkScope,
    is_number,
    is_reserved,
    origin,
    parse_url,
    shorten,
)

__all__ = [
    "EXCERPT_BYTES",
    "HostRule",
    "HttpClient",
    "NetworkScope",
    "Resolve",
    "Response",
    "basic_auth",
    "is_number",
    "is_reserved",
    "origin",
    "parse_url",
    "quote_line",
    "resolve_host",
    "shorten",
]
