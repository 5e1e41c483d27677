"""What a host says when it refuses, in, one line of it for a message out.

The body is a stranger's: it may be a page, hold markup or control characters, and give
back what it was asked with, signatures and passwords among it. None of that is quoted.
"""

import html
import json
import re
from typing import Any, Final

EXCERPT_BYTES: Final = 4096
"""So much of a refusal is worth reading."""

_LONGEST: Final = 160
# Where JSON has the sentence for people; an object there is looked into.
_KEYS: Final = ("detail", "message", "error_description", "error", "title", "reason")
# Of storage services' XML; beside it are keys and what was signed.
_MESSAGE: Final = re.compile(r"<Message>(.*?)</Message>", re.DOTALL | re.IGNORECASE)
_UNSEEN: Final = re.compile(
    r"<!--.*?(?:-->|$)|<(script|style|head|svg)\b.*?(?:</\1\s*>|$)|<[^>]*(?:>|$)",
    re.DOTALL | re.IGNORECASE,
)
_TITLE: Final = re.compile(r"<title\b[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
# A query, a user with password, an Authorization, and what else looks like a key.
_SECRETS: Final = (
    (re.compile(r"\?[^\s\"'<>]+"), "?…"),
    (re.compile(r"//[^/\s@]+@"), "//"),
    (re.compile(r"\b(basic|bearer|token)\s+[\w+/=.~-]{8,}", re.IGNORECASE), r"\1 …"),
    (re.compile(r"[\w+/=%-]{40,}"), "…"),
)


def quote_line(body: bytes) -> str:
    """The sentence of a refusal, at most 160 characters.

    Args:
        body: its first bytes, of any type.

    Returns:
        Printable text of one line, without markup and without what looks like a
        secret; empty if there is nothing to read.
    """
    text = _sentence(body.decode("utf-8", "replace"))
    if text.count("\N{REPLACEMENT CHARACTER}") * 10 > len(text):
        return ""
    text = re.sub(r"[<>\"]", "'", html.unescape(text))
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
    for secret, stand_in in _SECRETS:
        line = secret.sub(stand_in, line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _sentence(text: str) -> str:
    """What is meant for people, out of JSON, XML, HTML or plain text."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith(("{", "[")):
        return _in_json(start)
    if message := _MESSAGE.search(text):
        return _UNSEEN.sub(" ", message[1])
    if start.startswith("<?xml"):
        return ""
    title = _TITLE.search(text)
    visible = _UNSEEN.sub(" ", text)
    return visible if visible.strip() or title is None else title[1]


def _in_json(text: str) -> str:
    try:
        return _first_text(json.loads(text))
    except (ValueError, RecursionError):
        return ""


def _first_text(found: Any) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, list):
        return _first_text(found[0]) if found else ""
    if isinstance(found, dict):
        return next((_first_text(found[key]) for key in _KEYS if key in found), "")
    return ""
