"""One bounded, address-checked HTTP exchange, and web addresses.

In: a URL, how far a request may reach, a deadline and a size limit. Out: an answer, or
an error that says what failed. Refuses to know what is fetched and for whom: it follows
no redirect, keeps no cookie and holds no token.
"""

from backend.http.client import Answer, HttpClient
from backend.http.network import Resolve, resolve_host
from backend.http.urls import (
    SUPPORTED,
    HostRule,
    NetworkScope,
    origin,
    parse_url,
    shorten,
)

__all__ = [
    "SUPPORTED",
    "Answer",
    "HostRule",
    "HttpClient",
    "NetworkScope",
    "Resolve",
    "origin",
    "parse_url",
    "resolve_host",
    "shorten",
]
