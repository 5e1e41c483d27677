"""What the doctor found: one frozen value for each thing that it looked at.

Knows how a finding is worded and what it must not show; has never heard of what
is looked at.
"""

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

Level = Literal["ok", "warning", "problem", "skipped"]

T = TypeVar("T")
_JWT: Final = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*){1,2}")
_USER_IN_URL: Final = re.compile(r"(\w://)[^/\s@]*@")
# Signatures of pre-signed addresses live there.
_QUERY_IN_URL: Final = re.compile(r"(https?://[^\s?#'\"<>]+)[?#][^\s'\"<>]*")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "ok", "warning" (works, but), "problem" (does not work) or "skipped".
        subject: what was looked at.
        seen: what was there.
        remedy: what to type or click; None where nothing is wrong.
        details: further lines.
    """

    level: Level
    subject: str
    seen: str
    remedy: str | None = None
    details: tuple[str, ...] = ()


# A check yields findings as it makes them and returns what later checks need.
Check = Generator[Finding, None, T]


def ok(subject: str, seen: str, *details: str) -> Finding:
    """Nothing is wrong."""
    return Finding(level="ok", subject=subject, seen=seen, details=details)


def warning(subject: str, seen: str, remedy: str, *details: str) -> Finding:
    """It works, but perhaps not as wanted."""
    return Finding(
        level="warning", subject=subject, seen=seen, remedy=remedy, details=details
    )


def problem(subject: str, seen: str, remedy: str, *details: str) -> Finding:
    """It does not work."""
    return Finding(
        level="problem", subject=subject, seen=seen, remedy=remedy, details=details
    )


def skipped(subject: str, because: str) -> Finding:
    """It was not looked at."""
    return Finding(level="skipped", subject=subject, seen=f"because {because}")


def problem_of(subject: str, error: Exception) -> Finding:
    """One of our own errors: its first sentence is what was seen."""
    text, *details = str(error).splitlines() or [type(error).__name__]
    seen, _, remedy = text.partition(". ")
    return problem(
        subject, seen, remedy or "Read what follows.", *filter(str.strip, details)
    )


def scrub(finding: Finding, secrets: Iterable[str]) -> Finding:
    """Take out what nobody may read over a shoulder.

    That is the secrets themselves, anything that looks like a token, and the user
    and query of every address. Secrets count as whole words only: a short one must
    not be told by the holes that it leaves in other words.
    """
    known = [re.escape(secret) for secret in secrets if secret]
    pattern = re.compile(rf"(?<!\w)({'|'.join(known)})(?!\w)") if known else None

    def clean(text: str) -> str:
        if pattern is not None:
            text = pattern.sub("***", text)
        text = _USER_IN_URL.sub(r"\1***@", _JWT.sub("***", text))
        return _QUERY_IN_URL.sub(r"\1", text)

    return replace(
        finding,
        seen=clean(finding.seen),
        remedy=None if finding.remedy is None else clean(finding.remedy),
        details=tuple(clean(line) for line in finding.details),
    )
