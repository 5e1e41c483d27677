"""Keys and bytes in, bytes out; the store is one SQLite file in a folder of its own.

For installations without Redis. Several processes may share the folder. Knows
nothing of what the bytes mean: nothing in the file is ever unpickled, and no file
that it names is ever opened.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from backend.cache.store import LONGEST_LEASE_S, CacheSize, LeaseState, StoreClosed
from backend.sqlite_setup import set_up

SIZE_LIMIT_BYTES: Final = 1 << 30

_BUSY_TIMEOUT_S: Final = 1.0
# Whoever counts or clears a whole cache has the time.
_ADMIN_PATIENCE_S: Final = 600.0
# What a damaged file raises, found by changing its bytes: SQLite quotes its schema in
# its messages, and that need not be UTF-8 any more.
_DAMAGE: Final = (sqlite3.Error, UnicodeDecodeError)

_SETUP: Final = """
PRAGMA cell_size_check = ON;
CREATE TABLE IF NOT EXISTS scores (
    number INTEGER PRIMARY KEY,  -- in the order of the puts
    key TEXT NOT NULL UNIQUE,
    expires_s REAL NOT NULL,     -- before the value, which may go over many pages
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, token TEXT NOT NULL, expires_s REAL NOT NULL
);
"""
_GET: Final = """
SELECT value FROM scores WHERE key = ? AND expires_s > ? AND typeof(value) = 'blob'
"""
_USED_BYTES: Final = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
# A few with each put, so that no put waits for all that a long pause let expire. What
# was stored first expires first, as long as nobody changes the TTL.
_EVICT_EXPIRED: Final = """
DELETE FROM scores WHERE expires_s <= ? AND number IN
    (SELECT number FROM scores ORDER BY number LIMIT 10)
"""
_EVICT_OLDEST: Final = """
DELETE FROM scores WHERE number = (SELECT MIN(number) FROM scores)
"""
_PUT: Final = """
INSERT OR REPLACE INTO scores (key, expires_s, value) VALUES (?, ?, ?)
"""
_RENEW: Final = """
INSERT INTO leases VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET expires_s = excluded.expires_s
WHERE token = excluded.token
"""

_Database = sqlite3.Connection
T = TypeVar("T")


class SqliteStore:
    """`backend.cache.store.LeasingStore` in a folder.

    All of SQLite happens on one thread of this object's own: its connections
    belong to threads, callers come on any, and a disk that hangs must not hang
    them. Make one per process, after any fork.

    Args:
        directory: folder, made when missing; the cache owns all of it.
        ttl_s: seconds until a value is forgotten, at least 1.
        size_limit_bytes: above it the values stored longest ago are evicted.
        patience_s: longest wait for the disk before a call counts as a fault.
    """

    # TimeoutError is one.
    unreachable = (OSError,)
    refused = _DAMAGE
    secrets = ()

    def __init__(
        self,
        directory: Path,
        *,
        ttl_s: int,
        size_limit_bytes: int = SIZE_LIMIT_BYTES,
        patience_s: float = 5.0,
    ) -> None:
        self._file = directory / "scores.sqlite3"
        self._ttl_s = ttl_s
        self._size_limit_bytes = size_limit_bytes
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-store")
        self._db: _Database | None = None

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`."""
        return self._read(lambda db: [_value(db, key) for key in keys])

    def put(self, key: str, value: bytes) -> None:
        """Store `value` for `ttl_s`; what was stored longest ago makes room for it."""
        room_bytes = self._size_limit_bytes - len(value)
        if room_bytes < 0:
            return

        def command(db: _Database) -> None:
            now = time.time()
            db.execute(_EVICT_EXPIRED, (now,))
            while _used_bytes(db) > room_bytes and db.execute(_EVICT_OLDEST).rowcount:
                pass
            db.execute(_PUT, (key, now + self._ttl_s, value))

        self._write(command)

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """See `Leases`."""

        def command(db: _Database) -> list[LeaseState]:
            expires_s = _end_leases(db) + ttl_s
            granted = [
                db.execute(
                    "INSERT OR IGNORE INTO leases VALUES (?, ?, ?)",
                    (key, token, expires_s),
                ).rowcount
                for key in keys
            ]
            return [
                LeaseState(value=_value(db, key), is_leased=not is_granted)
                for key, is_granted in zip(keys, granted, strict=True)
            ]

        return self._write(command)

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Leases`."""

        def command(db: _Database) -> None:
            expires_s = _end_leases(db) + ttl_s
            db.executemany(_RENEW, [(key, token, expires_s) for key in keys])

        self._write(command)

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Leases`."""
        ours = [(key, token) for key in keys]
        delete = "DELETE FROM leases WHERE key = ? AND token = ?"
        self._write(lambda db: db.executemany(delete, ours))

    def peek(self, key: str) -> LeaseState:
        """See `Leases`."""

        def command(db: _Database) -> LeaseState:
            select = "SELECT 1 FROM leases WHERE key = ? AND expires_s BETWEEN ? AND ?"
            now = time.time()
            lease = db.execute(select, (key, now, now + LONGEST_LEASE_S)).fetchone()
            return LeaseState(value=_value(db, key), is_leased=lease is not None)

        return self._read(command)

    def measure(self) -> CacheSize:
        """How many values the file holds, and what of it is in use."""

        def command(db: _Database) -> CacheSize:
            count = "SELECT COUNT(*) FROM scores WHERE expires_s > ?"
            (entries,) = db.execute(count, (time.time(),)).fetchone()
            return CacheSize(entries=entries, bytes=_used_bytes(db))

        return self._read(command, patience_s=_ADMIN_PATIENCE_S)

    def clear(self) -> int:
        """Remove every value from the file, and give its pages back."""

        def command(db: _Database) -> int:
            removed = db.execute("DELETE FROM scores").rowcount
            # While others write, the file stays large and its pages are used again.
            with contextlib.suppress(sqlite3.OperationalError):
                db.execute("VACUUM")
            return removed

        return self._read(command, patience_s=_ADMIN_PATIENCE_S)

    def describe(self) -> str:
        """Where the cache is, for logs and `/health`."""
        return f"Embedded cache in {self._file.parent}"

    def close(self) -> None:
        """Close the file and end the thread. Later calls raise StoreClosed."""
        with contextlib.suppress(OSError, RuntimeError):
            self._thread.submit(self._disconnect).result(self._patience_s)
        self._thread.shutdown(wait=False)

    def _read(
        self, command: Callable[[_Database], T], *, patience_s: float | None = None
    ) -> T:
        try:
            return self._on_thread(command, patience_s or self._patience_s)
        except _DAMAGE as e:
            # A file that cannot be read is worth no write either.
            raise OSError(
                f"cannot use {self._file} ({e}); check that it is writable and that "
                f"no other program locks it, or delete it to start afresh"
            ) from e

    def _write(self, command: Callable[[_Database], T]) -> T:
        """Run `command` in a transaction; it is rolled back when it raises."""

        def transaction(db: _Database) -> T:
            with db:
                db.execute("BEGIN IMMEDIATE")
                return command(db)

        return self._on_thread(transaction, self._patience_s)

    def _on_thread(self, command: Callable[[_Database], T], patience_s: float) -> T:
        """Run `command` on the store's thread, waiting at most so long."""

        def job() -> T:
            try:
                return command(self._connected())
            except BaseException:
                # Opened anew at the next try.
                self._disconnect()
                raise

        try:
            future = self._thread.submit(job)
        except RuntimeError as e:  # after `close`, or while the interpreter ends
            raise StoreClosed from e
        try:
            return future.result(patience_s)
        except TimeoutError as e:
            raise TimeoutError(
                f"no answer from {self._file} within {patience_s:g} s; check its disk"
            ) from e
        finally:
            future.cancel()

    def _connected(self) -> _Database:
        if not self._file.exists():
            # New, or somebody deleted it to start afresh.
            self._disconnect()
            self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._db is None:
            self._db = _Database(
                self._file, timeout=_BUSY_TIMEOUT_S, isolation_level=None
            )
            set_up(self._db, _SETUP, patience_s=_BUSY_TIMEOUT_S)
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _value(db: _Database, key: str) -> bytes | None:
    row = db.execute(_GET, (key, time.time())).fetchone()
    return row and bytes(row[0])


def _used_bytes(db: _Database) -> int:
    return int(db.execute(_USED_BYTES).fetchone()[0])


def _end_leases(db: _Database) -> float:
    """Remove leases that were not renewed, or are none; the time in seconds."""
    now = time.time()
    delete = "DELETE FROM leases WHERE expires_s NOT BETWEEN ? AND ?"
    db.execute(delete, (now, now + LONGEST_LEASE_S))
    return now
