"""Keys and bytes in, bytes or a miss out; the store is one SQLite file.

For installations without Redis. Several processes may share the folder. Knows
nothing of what the bytes mean, writes only raw bytes and reads nothing else:
what somebody else put into the file is never unpickled, and no file name in it
is ever opened or removed.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import diskcache  # type: ignore[import-untyped]

from backend.cache.bytes_store import BytesStore
from backend.cache.fault_guard import CacheSize, CacheStats, FaultGuard, LeaseState

SIZE_LIMIT_BYTES = 1 << 30

# Whoever counts or clears a whole cache has the time.
_ADMIN_PATIENCE_S = 600.0
# What a damaged database raises through SQLite's binding and diskcache, found
# by flipping its bytes: the schema and the settings in it are data too.
_DAMAGE = (
    sqlite3.Error,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

T = TypeVar("T")


class EmbeddedCache:
    """`backend.cache.store.Cache` in a folder.

    All of SQLite happens on one thread of this object's own: its connections
    belong to threads, callers come on any, and a disk that hangs must not hang
    them. Make one per process, after any fork.

    Args:
        directory: folder, made when missing; the cache owns all of it.
        ttl_s: seconds until a value is forgotten, at least 1.
        size_limit_bytes: above it the values stored longest ago go first.
        retry_for_s: longest wait for the disk before a call counts as a fault.
        cooldown_s: pause after a fault.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ttl_s: int,
        size_limit_bytes: int = SIZE_LIMIT_BYTES,
        retry_for_s: float = 5.0,
        cooldown_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._ttl_s = ttl_s
        self._size_limit_bytes = size_limit_bytes
        self._patience_s = retry_for_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedded-cache")
        self._store: BytesStore | None = None
        self.stats = CacheStats()
        self._guard = FaultGuard(
            self.describe(),
            # RuntimeError: a call after `close`. TimeoutError is an OSError.
            unreachable=(OSError, RuntimeError),
            refused=(*_DAMAGE, diskcache.Timeout),
            stats=self.stats,
            cooldown_s=cooldown_s,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"<EmbeddedCache: {self.describe()}>"

    def get(self, key: str) -> bytes | None:
        """The value of `key`, None when there is none or the disk cannot say."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`."""
        if not keys:
            return []

        def command(store: BytesStore) -> list[bytes | None]:
            return [store.get(key) for key in keys]

        values = self._read(command) or [None] * len(keys)
        hits = sum(value is not None for value in values)
        self.stats.add(hits=hits, misses=len(keys) - hits)
        return values

    def put(self, key: str, value: bytes) -> None:
        """Store `value` for `ttl_s`, or skip it when the disk will not have it."""

        def command(store: BytesStore) -> None:
            store.set(key, value, expire=self._ttl_s)

        self._guard.write(lambda: self._on_thread(command))

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """See `Cache`."""

        def command(store: BytesStore) -> list[LeaseState]:
            with store.transact():
                return [store.acquire(key, token.encode(), ttl_s) for key in keys]

        found = self._guard.acquire(lambda: self._on_thread(command))
        return found or [LeaseState(value=None, is_leased=False)] * len(keys)

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Cache`."""

        def command(store: BytesStore) -> None:
            with store.transact():
                for key in keys:
                    store.renew(key, token.encode(), ttl_s)

        self._guard.acquire(lambda: self._on_thread(command))

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Cache`."""

        def command(store: BytesStore) -> None:
            with store.transact():
                for key in keys:
                    store.release(key, token.encode())

        self._guard.acquire(lambda: self._on_thread(command))

    def peek(self, key: str) -> LeaseState:
        """See `Cache`."""

        def command(store: BytesStore) -> LeaseState:
            return store.peek(key)

        return self._read(command) or LeaseState(value=None, is_leased=False)

    def ping(self) -> bool:
        """Whether the folder can be read now; False at once during an outage."""

        def command(store: BytesStore) -> bool:
            store.get("ping")
            return True

        return self._read(command) is True

    def measure(self) -> CacheSize | None:
        """How many values the file holds, and its own bytes."""

        def command(store: BytesStore) -> CacheSize:
            return CacheSize(entries=store.n_values(), bytes=int(store.volume()))

        return self._read(command, retry_for_s=_ADMIN_PATIENCE_S)

    def clear(self) -> int | None:
        """Remove everything from the file."""

        def command(store: BytesStore) -> int:
            entries = store.n_values()
            store.clear()
            return entries

        return self._read(command, retry_for_s=_ADMIN_PATIENCE_S)

    def describe(self) -> str:
        """Where the cache is, for logs and `/health`."""
        return f"Embedded cache in {self._directory}"

    def close(self) -> None:
        """Close the file and end the thread. Later calls are misses."""
        with contextlib.suppress(OSError, RuntimeError):
            self._thread.submit(self._drop).result(self._patience_s)
        self._thread.shutdown(wait=False)

    def _read(
        self, command: Callable[[BytesStore], T], *, retry_for_s: float | None = None
    ) -> T | None:
        def attempt() -> T:
            try:
                return self._on_thread(command, retry_for_s=retry_for_s)
            except _DAMAGE as e:
                # A file that cannot be read is worth no write either.
                raise self._unusable(e) from e

        return self._guard.read(attempt)

    def _on_thread(
        self, command: Callable[[BytesStore], T], *, retry_for_s: float | None = None
    ) -> T:
        """Run `command` on the cache's thread, waiting at most so long."""

        def job() -> T:
            store = self._opened()
            try:
                return command(store)
            except _DAMAGE:
                # Opened anew at the next try: the folder may have been replaced.
                self._drop()
                raise

        future = self._thread.submit(job)
        try:
            return future.result(retry_for_s or self._patience_s)
        finally:
            future.cancel()

    def _opened(self) -> BytesStore:
        if self._store is None:
            try:
                self._store = BytesStore(self._directory, self._size_limit_bytes)
            except (OSError, *_DAMAGE) as e:
                raise self._unusable(e) from e
        return self._store

    def _unusable(self, cause: Exception) -> OSError:
        return OSError(
            f"cannot use {self._directory} ({cause}); check that it is writable, "
            f"or delete it to start afresh"
        )

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()
