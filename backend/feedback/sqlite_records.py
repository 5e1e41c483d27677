"""Corrections, heads and events in one SQLite file; see `store.Records`.

For installations without Redis. Several processes may share the folder. Every read has
a connection of its own, so that a long one holds nobody up. All writes share one, which
stays open: with the last of its connections SQLite puts its log into the file, and that
takes a disk twenty times as long as a write. It does so with every so manyth write as
well, but for those that a webhook waits for.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from backend.errors import FeedbackUnavailable
from backend.sqlite_setup import set_up

_BUSY_TIMEOUT_S: Final = 5.0
_MOST_FORGOTTEN: Final = 10_000
_EVENTS_KEPT_S: Final = 30 * 24 * 3600
# Writes until SQLite's log is put into the file: of 128 kB, 4 MB.
_WRITES_LOGGED: Final = 32
_SETUP: Final = """
CREATE TABLE IF NOT EXISTS corrections (
    project TEXT NOT NULL, annotation INTEGER NOT NULL, rank INTEGER NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (project, annotation)
);
CREATE INDEX IF NOT EXISTS by_rank ON corrections (project, rank, annotation);
CREATE TABLE IF NOT EXISTS forgotten (
    number INTEGER PRIMARY KEY,  -- in the order of the deletions
    project TEXT NOT NULL, annotation INTEGER NOT NULL, UNIQUE (project, annotation)
);
CREATE TABLE IF NOT EXISTS facts (
    project TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS events (
    queue TEXT NOT NULL, id TEXT NOT NULL, due_s REAL NOT NULL,
    attempts INTEGER NOT NULL, added_s REAL NOT NULL, n_bytes INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (queue, id)
);
CREATE INDEX IF NOT EXISTS by_due ON events (queue, due_s);
"""
_PUT: Final = """
INSERT INTO corrections VALUES (?, ?, ?, ?)
ON CONFLICT (project, annotation) DO UPDATE
SET rank = excluded.rank, value = excluded.value WHERE rank <= excluded.rank
"""
_TRIM: Final = """
DELETE FROM corrections WHERE project = ? AND annotation IN (
    SELECT annotation FROM corrections WHERE project = ?
    ORDER BY rank DESC, annotation DESC LIMIT -1 OFFSET ?
)
"""
_TRIM_FORGOTTEN: Final = """
DELETE FROM forgotten WHERE number IN (
    SELECT number FROM forgotten WHERE project = ?
    ORDER BY number DESC LIMIT -1 OFFSET ?
)
"""
_TAKE: Final = """
SELECT id, body, attempts + 1 FROM events WHERE queue = ? AND due_s <= ?
ORDER BY due_s, id LIMIT 1
"""
_PROJECTS: Final = """
SELECT project FROM corrections UNION SELECT project FROM facts ORDER BY project
"""


class SqliteRecords:
    """`store.Records` in a folder, made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "feedback.sqlite3"
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._n_logged = 0

    def put(
        self, project: str, annotation: int, rank: int, value: bytes, *, most: int
    ) -> bool:
        """See `Records`."""
        with self._transaction() as db:
            select = "SELECT 1 FROM forgotten WHERE project = ? AND annotation = ?"
            if db.execute(select, (project, annotation)).fetchone():
                return False
            row = (project, annotation, rank, value)
            is_kept = db.execute(_PUT, row).rowcount > 0
            db.execute(_TRIM, (project, project, most))
            return is_kept

    def forget(self, project: str, annotations: Sequence[int]) -> None:
        """See `Records`."""
        pairs = [(project, annotation) for annotation in annotations]
        with self._transaction() as db:
            where = "WHERE project = ? AND annotation = ?"
            db.executemany(f"DELETE FROM corrections {where}", pairs)
            db.executemany(
                "INSERT OR REPLACE INTO forgotten (project, annotation) VALUES (?, ?)",
                pairs,
            )
            db.execute(_TRIM_FORGOTTEN, (project, _MOST_FORGOTTEN))

    def get_many(self, project: str, annotations: Sequence[int]) -> list[bytes | None]:
        """See `Records`."""
        select = "SELECT value FROM corrections WHERE project = ? AND annotation = ?"
        with self._reading() as db:
            rows = [db.execute(select, (project, a)).fetchone() for a in annotations]
        return [row and bytes(row[0]) for row in rows]

    def annotations(self, project: str) -> list[int]:
        """See `Records`."""
        select = "SELECT annotation FROM corrections WHERE project = ? ORDER BY 1"
        with self._reading() as db:
            return [int(row[0]) for row in db.execute(select, (project,))]

    def get_fact(self, project: str, name: str) -> bytes | None:
        """See `Records`."""
        select = "SELECT value FROM facts WHERE project = ? AND name = ?"
        with self._reading() as db:
            row = db.execute(select, (project, name)).fetchone()
        return row and bytes(row[0])

    def set_fact(self, project: str, name: str, value: bytes | None) -> None:
        """See `Records`."""
        with self._transaction() as db:
            if value is None:
                where = "WHERE project = ? AND name = ?"
                db.execute(f"DELETE FROM facts {where}", (project, name))
            else:
                insert = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)"
                db.execute(insert, (project, name, value))

    def projects(self) -> list[str]:
        """See `Records`."""
        with self._reading() as db:
            return [str(row[0]) for row in db.execute(_PROJECTS)]

    def reset(self, project: str) -> None:
        """See `Records`."""
        with self._transaction() as db:
            db.execute("DELETE FROM corrections WHERE project = ?", (project,))
            db.execute("DELETE FROM facts WHERE project = ?", (project,))

    def add_event(
        self, queue: str, event_id: str, body: bytes, *, most: int, most_bytes: int
    ) -> bool:
        """See `Records`."""
        now = time.time()
        with self._transaction(is_waited_for=True) as db:
            db.execute("DELETE FROM events WHERE added_s < ?", (now - _EVENTS_KEPT_S,))
            select = "SELECT 1 FROM events WHERE queue = ? AND id = ?"
            if db.execute(select, (queue, event_id)).fetchone():
                return True
            select = "SELECT COUNT(*), TOTAL(n_bytes) FROM events WHERE queue = ?"
            n_events, n_bytes = db.execute(select, (queue,)).fetchone()
            if n_events >= most or n_bytes + len(body) > most_bytes:
                return False
            row = (queue, event_id, now, 0, now, len(body), body)
            db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            return True

    def take_event(
        self, queue: str, lease_s: float, overdue_s: float
    ) -> tuple[str, bytes, int] | None:
        """See `Records`."""
        now = time.time()
        # Most often there is none, and nobody need be kept from writing.
        with self._reading() as db:
            if db.execute(_TAKE, (queue, now - overdue_s)).fetchone() is None:
                return None
        with self._transaction() as db:
            row = db.execute(_TAKE, (queue, now - overdue_s)).fetchone()
            if row is None:
                return None
            event_id, body, attempts = row
            update = "UPDATE events SET due_s = ?, attempts = ?"
            where = "WHERE queue = ? AND id = ?"
            given = (now + lease_s, attempts, queue, event_id)
            db.execute(f"{update} {where}", given)
            return str(event_id), bytes(body), int(attempts)

    def end_event(self, queue: str, event_id: str) -> None:
        """See `Records`."""
        with self._transaction() as db:
            delete = "DELETE FROM events WHERE queue = ? AND id = ?"
            db.execute(delete, (queue, event_id))

    def postpone_event(self, queue: str, event_id: str, delay_s: float) -> None:
        """See `Records`."""
        update = "UPDATE events SET due_s = ? WHERE queue = ? AND id = ?"
        with self._transaction() as db:
            db.execute(update, (time.time() + delay_s, queue, event_id))

    def n_events(self, queue: str) -> int:
        """See `Records`."""
        select = "SELECT COUNT(*) FROM events WHERE queue = ?"
        with self._reading() as db:
            return int(db.execute(select, (queue,)).fetchone()[0])

    def describe(self) -> str:
        """See `Records`."""
        return f"The file {self._file}"

    def close(self) -> None:
        """See `Records`. Later calls open it again."""
        with self._writing:
            self._disconnect()

    @contextmanager
    def _transaction(
        self, *, is_waited_for: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """Writes, all of them or, if the block raises, none."""
        with self._writing, self._faults():
            try:
                if self._writer is not None and not self._file.exists():
                    self._disconnect()  # somebody deleted it to start afresh
                if self._writer is None:
                    self._writer = _connected(self._file)
                    self._writer.execute("PRAGMA wal_autocheckpoint = 0")
                self._writer.execute("BEGIN IMMEDIATE")
                with self._writer as db:
                    yield db
            except BaseException:
                # Opened anew at the next try.
                self._disconnect()
                raise
            self._n_logged += 1
        if self._n_logged >= _WRITES_LOGGED and not is_waited_for:
            self._n_logged = 0
            # Beside other writes, which it holds up no more than a read does.
            with self._reading() as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _disconnect(self) -> None:
        db, self._writer = self._writer, None
        if db is not None:
            db.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """What there is; nobody has to be able to write a file that is not there."""
        file = self._file if self._file.exists() else None
        with self._faults(), closing(_connected(file)) as db:
            yield db

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        # SQLite quotes a damaged schema in its messages, which need not be UTF-8.
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
            raise FeedbackUnavailable(
                f"{self.describe()} cannot be used for what projects have learned "
                f"({error}). Check that it is writable and that no other program locks "
                f"it."
            ) from error


def _connected(file: Path | None) -> sqlite3.Connection:
    """The file, or an empty one in memory."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(
        ":memory:" if file is None else file,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        set_up(db, _SETUP, patience_s=_BUSY_TIMEOUT_S)
    except BaseException:
        db.close()
        raise
    return db
