"""Corrections, heads and waiting events in, the same out: kept until they are removed.

Unlike the cache nothing here ends by itself, since a person's work is in it; instead
each kind is bounded in number and bytes, and the oldest goes first. Where it is kept is
behind `Records`: Redis where there is one, else a file.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from backend.feedback.redis_records import RedisRecords
from backend.feedback.sqlite_records import SqliteRecords
from backend.feedback.types import Correction, TaughtHeads

logger = logging.getLogger(__name__)

# Of a project; beyond it the ones that were submitted longest ago are forgotten. With
# examples of 128 kB, a project takes up to 128 MB.
MOST_CORRECTIONS: Final = 1000
MOST_CORRECTION_BYTES: Final = 1 << 20
# Of them; the others are for what became of a thousand regions.
MOST_EXAMPLE_BYTES: Final = 768 << 10
# Anybody who reaches the webhook can name projects.
MOST_PROJECTS: Final = 1000
# Events that wait, of one model. What comes when there is no room is found again by
# `diffsegmenter feedback import`.
MOST_EVENTS: Final = 2000
MOST_EVENT_BYTES: Final = 4 << 20
MOST_EVENTS_BYTES: Final = 256 << 20
# An event that nobody has kept for longer is taken for one of a process that died.
EVENT_LEASE_S: Final = 15.0
_READ_AT_ONCE: Final = 16
_HEADS: Final = "heads"
_FROZEN: Final = "frozen"
_CHANGES: Final = "changes"


@dataclass(frozen=True, kw_only=True)
class WaitingEvent:
    """An event that this process is to work on now.

    Attributes:
        id: in its queue.
        body: as it was added.
        attempts: how often it was begun with, this time among them.
    """

    id: str
    body: bytes
    attempts: int


class Records(Protocol):
    """Where it all is kept. Raises `FeedbackUnavailable`; any thread may call."""

    def put(
        self, project: str, annotation: int, rank: int, value: bytes, *, most: int
    ) -> bool:
        """Keep a value unless one of a higher rank is kept, or it was forgotten.

        Beyond `most` of the project the lowest ranks are removed.
        """

    def forget(self, project: str, annotations: Sequence[int]) -> None:
        """Remove values, and refuse them from now on."""

    def get_many(self, project: str, annotations: Sequence[int]) -> list[bytes | None]:
        """One value or None each, in the order of `annotations`."""

    def annotations(self, project: str) -> list[int]:
        """Those that have a value, ascending."""

    def get_fact(self, project: str, name: str) -> bytes | None:
        """One value beside the corrections."""

    def set_fact(self, project: str, name: str, value: bytes | None) -> None:
        """Keep one, or none."""

    def projects(self) -> list[str]:
        """Those that hold anything."""

    def reset(self, project: str) -> None:
        """Remove all values and facts of a project; what was forgotten stays so."""

    def add_event(
        self, queue: str, event_id: str, body: bytes, *, most: int, most_bytes: int
    ) -> bool:
        """Keep an event, once by its id; False where there is no room."""

    def take_event(
        self, queue: str, lease_s: float, overdue_s: float
    ) -> tuple[str, bytes, int] | None:
        """The event that is due longest, for `overdue_s` at least.

        It is not to be taken again for `lease_s`.
        """

    def end_event(self, queue: str, event_id: str) -> None:
        """Remove an event."""

    def postpone_event(self, queue: str, event_id: str, delay_s: float) -> None:
        """Let an event be due later."""

    def n_events(self, queue: str) -> int:
        """How many wait, or are under way."""

    def describe(self) -> str:
        """Where it is, without secrets."""

    def close(self) -> None:
        """Let go of connections and files."""


class FeedbackStore:
    """What projects have learned, and from what. Any thread or process may use it.

    Raises `FeedbackUnavailable` where the store cannot be used.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    def put(self, correction: Correction) -> None:
        """Keep a correction in place of an earlier one of its annotation.

        An earlier one never replaces a later one, nor does one that was deleted come
        back. Putting the same twice changes nothing.
        """
        value, project = correction.to_bytes(), correction.project
        if len(value) > MOST_CORRECTION_BYTES:
            logger.warning(
                "Project %s: annotation %d teaches nothing: it takes %d bytes, and the "
                "limit is %d.",
                *(project, correction.annotation, len(value), MOST_CORRECTION_BYTES),
            )
            return
        projects = self._records.projects()
        if project not in projects and len(projects) >= MOST_PROJECTS:
            logger.warning(
                "Project %s teaches nothing: %d projects are kept already. Forget some "
                "by `diffsegmenter feedback reset`.",
                *(project, len(projects)),
            )
            return
        self._records.put(
            project,
            correction.annotation,
            correction.rank,
            value,
            most=MOST_CORRECTIONS,
        )

    def forget(self, project: str, annotation_ids: Sequence[int]) -> None:
        """Take back deleted annotations; they stay so if their events come late."""
        if annotation_ids:
            self._records.forget(project, annotation_ids)

    def correction(self, project: str, annotation_id: int) -> Correction | None:
        """The one of an annotation."""
        (value,) = self._records.get_many(project, [annotation_id])
        return _read(value, project)

    def corrections(self, project: str) -> list[Correction]:
        """All of a project, by annotation id."""
        return list(self.iter_corrections(project))

    def iter_corrections(self, project: str) -> Iterator[Correction]:
        """The same, some at a time. Tasks that were skipped after all are left out."""
        ids = self._records.annotations(project)
        for start in range(0, len(ids), _READ_AT_ONCE):
            some = ids[start : start + _READ_AT_ONCE]
            for value in self._records.get_many(project, some):
                found = _read(value, project)
                if found is not None and not found.is_skipped:
                    yield found

    def annotations(self, project: str) -> list[int]:
        """Annotations that are kept, those of tasks that were skipped among them."""
        return self._records.annotations(project)

    def n_corrections(self, project: str) -> int:
        """How many are kept, those of tasks that were skipped among them."""
        return len(self._records.annotations(project))

    def heads(self, project: str) -> TaughtHeads | None:
        """What counts now; None where nothing was taught, or none can be read."""
        value = self._records.get_fact(project, _HEADS)
        try:
            return None if value is None else TaughtHeads.from_bytes(value)
        except ValueError as error:
            logger.warning("Project %s: unreadable heads, left out: %s", project, error)
            return None

    def put_heads(self, project: str, heads: TaughtHeads) -> None:
        """Let these count from now on; changes are counted anew."""
        self._records.set_fact(project, _HEADS, heads.to_bytes())
        self._records.set_fact(project, _CHANGES, None)

    def count_change(self, project: str) -> int:
        """Count a change of corrections; how many there are since heads were put.

        Two that are counted at the same moment may be counted as one.
        """
        value = self._records.get_fact(project, _CHANGES) or b"0"
        n_changes = (int(value) if value.isdigit() else 0) + 1
        self._records.set_fact(project, _CHANGES, str(n_changes).encode())
        return n_changes

    def is_frozen(self, project: str) -> bool:
        """Whether what counts is to stay as it is."""
        return self._records.get_fact(project, _FROZEN) is not None

    def freeze(self, project: str, is_frozen: bool) -> None:
        """Let what counts stay as it is, or change again."""
        self._records.set_fact(project, _FROZEN, b"1" if is_frozen else None)

    def reset(self, project: str) -> None:
        """Forget corrections and heads; a deleted annotation stays deleted."""
        self._records.reset(project)

    def projects(self) -> list[str]:
        """Those of which anything is kept."""
        return self._records.projects()

    def add_event(self, queue: str, event_id: str, body: bytes) -> bool:
        """Keep an event until it is worked on, once by its id.

        Args:
            queue: of one model; another's processes do not see it.
            event_id: the same for the same event.
            body: at most `MOST_EVENT_BYTES`.

        Returns:
            False where it is too large, or too many wait.
        """
        if len(body) > MOST_EVENT_BYTES:
            return False
        return self._records.add_event(
            queue, event_id, body, most=MOST_EVENTS, most_bytes=MOST_EVENTS_BYTES
        )

    def take_event(self, queue: str, overdue_s: float = 0.0) -> WaitingEvent | None:
        """An event to work on now; others take it if it is neither ended nor kept.

        Args:
            queue: of one model.
            overdue_s: how long it must have been due.
        """
        found = self._records.take_event(queue, EVENT_LEASE_S, overdue_s)
        if found is None:
            return None
        event_id, body, attempts = found
        return WaitingEvent(id=event_id, body=body, attempts=attempts)

    def keep_event(self, queue: str, event: WaitingEvent) -> None:
        """Tell that an event is still worked on."""
        self._records.postpone_event(queue, event.id, EVENT_LEASE_S)

    def end_event(self, queue: str, event: WaitingEvent) -> None:
        """Note that nothing of an event is left to do."""
        self._records.end_event(queue, event.id)

    def postpone_event(self, queue: str, event: WaitingEvent, delay_s: float) -> None:
        """Have an event worked on again, after a while."""
        self._records.postpone_event(queue, event.id, delay_s)

    def n_events(self, queue: str) -> int:
        """How many events wait, or are under way."""
        return self._records.n_events(queue)

    def describe(self) -> str:
        """Where the store is, for logs; shows no password."""
        return self._records.describe()

    def close(self) -> None:
        """Let go of connections and files."""
        self._records.close()


def open_feedback_store(redis_url: str | None, directory: Path) -> FeedbackStore:
    """Choose the store: Redis when there is a URL, else a file. Neither is reached yet.

    Args:
        redis_url: see `redis_client`; None or empty for none.
        directory: where the file goes, into a folder of its own.

    Raises:
        SettingsError: if the URL cannot be read.
    """
    if redis_url:
        return FeedbackStore(RedisRecords(redis_url))
    return FeedbackStore(SqliteRecords(directory / "feedback"))


def _read(value: bytes | None, project: str) -> Correction | None:
    try:
        return None if value is None else Correction.from_bytes(value)
    except ValueError as error:
        logger.warning("Project %s: left out an entry: %s", project, error)
        return None
