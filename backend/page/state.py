"""The backend's parts in, what a person wants to know of them out, as texts."""

import logging
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Final, Protocol

import redis

from backend.batch import Backlog
from backend.cache import Cache

_MOST_FAILURES: Final = 50
_LONGEST_FAILURE: Final = 1000
_SOURCES: Final = ("backend", "segmenter")
_VERSIONED: Final = (
    ("DiffSegmenter", "diffsegmenter-label-studio"),
    ("torch", "torch"),
    ("diffusers", "diffusers"),
    ("transformers", "transformers"),
    ("label-studio-sdk", "label-studio-sdk"),
)

# A name and what is known of it.
Fact = tuple[str, str]


class Finding(Protocol):
    """What a look at the installation found, see `backend.doctor`."""

    @property
    def level(self) -> str:
        """Say "ok", "warning", "problem" or "skipped"."""

    @property
    def subject(self) -> str:
        """What was looked at."""

    @property
    def seen(self) -> str:
        """What was there."""

    @property
    def remedy(self) -> str | None:
        """What to do; None where nothing is wrong."""

    @property
    def details(self) -> Sequence[str]:
        """Further lines."""


# A project's number or None, to findings without secrets.
Doctor = Callable[[int | None], Iterator[Finding]]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Something that went wrong, as it was logged.

    Attributes:
        at: in UTC, to the second.
        level: such as "WARNING".
        text: what happened and, as all our messages do, what to do.
    """

    at: str
    level: str
    text: str


class RecentFailures(logging.Handler):
    """Keeps the latest warnings and errors of ours; any thread may log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[Failure] = deque(maxlen=_MOST_FAILURES)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(" ", "seconds")
        try:
            text = record.getMessage()
        # A message that does not fit its arguments is told by the other handlers.
        except (TypeError, ValueError):
            return
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}; the log has the traceback)"
        self._kept.append(
            Failure(
                at=at.removesuffix("+00:00"),
                level=record.levelname,
                text=text[:_LONGEST_FAILURE],
            )
        )

    def latest_first(self) -> list[Failure]:
        """What is kept."""
        return list(self._kept)[::-1]


@cache
def recent_failures() -> RecentFailures:
    """Those of this process, from the first call on."""
    handler = RecentFailures()
    for name in _SOURCES:
        logging.getLogger(name).addHandler(handler)
    return handler


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """What the backend is made of.

    Attributes:
        model: facts about the model that the settings decide.
        model_status: "loading", "ready" or why loading failed.
        model_kind: what was loaded and where it runs; None before.
        cache: of score maps.
        backlog: work behind the requests, and the queue.
        learning: where corrections are kept; None where nothing is learned.
    """

    model: tuple[Fact, ...]
    model_status: Callable[[], str]
    model_kind: Callable[[], str | None]
    cache: Cache
    backlog: Backlog
    learning: str | None

    def facts(self) -> list[tuple[str, list[Fact]]]:
        """All of them under headings; asks the cache and the queue."""
        loaded = self.model_kind()
        return [
            (
                "Model",
                [
                    *self.model,
                    ("Status", self.model_status()),
                    *([("Loaded", loaded)] if loaded else []),
                ],
            ),
            ("Cache", self._cache()),
            ("Queue and workers", self._queue()),
            ("Versions", _versions()),
        ]

    def _cache(self) -> list[Fact]:
        facts = [("Where", self.cache.describe())]
        size = self.cache.measure()
        if size is not None:
            facts.append(
                ("Holds", f"{size.entries:,} values, {size.bytes / 1e6:.1f} MB")
            )
        stats = self.cache.stats
        asked = stats.hits + stats.misses
        if asked:
            share = stats.hits / asked
            facts.append(
                ("Found since the start", f"{stats.hits:,} of {asked:,} ({share:.0%})")
            )
        if stats.faults:
            facts.append(("Faults", f"{stats.faults:,}; see the failures below"))
        facts.append(("Corrections", self.learning or "not kept (LEARNING=off)"))
        return facts

    def _queue(self) -> list[Fact]:
        facts = [("Tasks that wait here", f"{self.backlog.n_waiting:,}")]
        queue = self.backlog.queue
        if queue is None:
            return [*facts, ("Workers", "none without REDIS_URL, or on a cluster")]
        try:
            return [
                *facts,
                ("Queue", queue.name),
                ("Jobs that wait", f"{queue.n_waiting():,}"),
                ("Workers", f"{queue.n_workers():,}"),
            ]
        except (redis.RedisError, OSError, ValueError) as error:
            return [*facts, ("Queue", f"Redis cannot be used ({type(error).__name__})")]


def _versions() -> list[Fact]:
    found = [("Python", platform.python_version())]
    for name, distribution in _VERSIONED:
        try:
            found.insert(len(found) - 1, (name, metadata.version(distribution)))
        except metadata.PackageNotFoundError:
            continue
    return found
