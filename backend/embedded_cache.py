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
from typing import Any, TypeVar

import diskcache  # type: ignore[import-untyped]

from backend.cache_health import CacheSize, CacheStats, FaultGuard, Standing

SIZE_LIMIT_BYTES = 1 << 30

_BUSY_TIMEOUT_S = 1.0
# Keys of values are hexadecimal digits.
_CLAIM_PREFIX = "claim:"
# Whoever counts or clears a whole cache has the time.
_ADMIN_PATIENCE_S = 600.0
_MODE_RAW = diskcache.core.MODE_RAW
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
    """`backend.cache.Cache` in a folder.

    All of SQLite happens on one thread of this object's own: its connections
    belong to threads, callers come on any, and a disk that hangs must not hang
    them. Make one per process, after any fork.

    Args:
        directory: folder, made when missing; the cache owns all of it.
        ttl_s: seconds until a value is forgotten, at least 1.
        size_limit_bytes: above it the values stored longest ago go first.
        patience_s: longest wait for the disk before a call counts as a fault.
        cooldown_s: pause after a fault.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        directory: Path,
        *,
        ttl_s: int,
        size_limit_bytes: int = SIZE_LIMIT_BYTES,
        patience_s: float = 5.0,
        cooldown_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._ttl_s = ttl_s
        self._size_limit_bytes = size_limit_bytes
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedded-cache")
        self._store: _BytesStore | None = None
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

        def command(store: "_BytesStore") -> list[bytes | None]:
            return [store.get(key) for key in keys]

        values = self._read(command) or [None] * len(keys)
        hits = sum(value is not None for value in values)
        self.stats.add(hits=hits, misses=len(keys) - hits)
        return values

    def put(self, key: str, value: bytes) -> None:
        """Store `value` for `ttl_s`, or skip it when the disk will not have it."""

        def command(store: "_BytesStore") -> None:
            store.set(key, value, expire=self._ttl_s)

        self._guard.write(lambda: self._on_thread(command))

    def claim(self, keys: Sequence[str], token: str, ttl_s: float) -> list[Standing]:
        """See `Cache`."""

        def command(store: "_BytesStore") -> list[Standing]:
            with store.transact():
                return [store.claim(key, token.encode(), ttl_s) for key in keys]

        found = self._guard.claim(lambda: self._on_thread(command))
        return found or [Standing(value=None, is_taken=False)] * len(keys)

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """See `Cache`."""

        def command(store: "_BytesStore") -> None:
            with store.transact():
                for key in keys:
                    store.renew(key, token.encode(), ttl_s)

        self._guard.claim(lambda: self._on_thread(command))

    def release(self, keys: Sequence[str], token: str) -> None:
        """See `Cache`."""

        def command(store: "_BytesStore") -> None:
            with store.transact():
                for key in keys:
                    store.release(key, token.encode())

        self._guard.claim(lambda: self._on_thread(command))

    def look(self, key: str) -> Standing:
        """See `Cache`."""

        def command(store: "_BytesStore") -> Standing:
            token = store.get(_CLAIM_PREFIX + key)
            return Standing(value=store.get(key), is_taken=token is not None)

        return self._read(command) or Standing(value=None, is_taken=False)

    def ping(self) -> bool:
        """Whether the folder can be read now; False at once during an outage."""

        def command(store: "_BytesStore") -> bool:
            store.get("ping")
            return True

        return self._read(command) is True

    def measure(self) -> CacheSize | None:
        """How many values the file holds, and its own bytes."""

        def command(store: "_BytesStore") -> CacheSize:
            return CacheSize(entries=store.n_values(), bytes=int(store.volume()))

        return self._read(command, patience_s=_ADMIN_PATIENCE_S)

    def clear(self) -> int | None:
        """Remove everything from the file."""

        def command(store: "_BytesStore") -> int:
            entries = store.n_values()
            store.clear()
            return entries

        return self._read(command, patience_s=_ADMIN_PATIENCE_S)

    def describe(self) -> str:
        """Where the cache is, for logs and `/health`."""
        return f"Embedded cache in {self._directory}"

    def close(self) -> None:
        """Close the file and end the thread. Later calls are misses."""
        with contextlib.suppress(OSError, RuntimeError):
            self._thread.submit(self._drop).result(self._patience_s)
        self._thread.shutdown(wait=False)

    def _read(
        self, command: Callable[["_BytesStore"], T], *, patience_s: float | None = None
    ) -> T | None:
        def attempt() -> T:
            try:
                return self._on_thread(command, patience_s=patience_s)
            except _DAMAGE as e:
                # A file that cannot be read is worth no write either.
                raise self._unusable(e) from e

        return self._guard.read(attempt)

    def _on_thread(
        self, command: Callable[["_BytesStore"], T], *, patience_s: float | None = None
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
            return future.result(patience_s or self._patience_s)
        finally:
            future.cancel()

    def _opened(self) -> "_BytesStore":
        if self._store is None:
            try:
                self._store = _BytesStore(self._directory, self._size_limit_bytes)
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


class _BytesStore(diskcache.Cache):  # type: ignore[misc]
    """A diskcache that stores bytes in SQLite and evicts the oldest."""

    def __init__(self, directory: Path, size_limit_bytes: int) -> None:
        try:
            super().__init__(
                str(directory),
                timeout=_BUSY_TIMEOUT_S,
                disk=_BytesDisk,
                size_limit=size_limit_bytes,
                eviction_policy="least-recently-stored",
                statistics=0,
                tag_index=0,
                # A fault under a memory map is a signal, not an exception.
                sqlite_mmap_size=0,
            )
        except BaseException:
            self.close()
            raise

    def n_values(self) -> int:
        """How many values there are; claims are none."""
        total = "SELECT COUNT(*) FROM Cache"
        # The range of keys that begin with "claim:", by way of the index.
        ((claims,),) = self._sql(f"{total} WHERE key >= 'claim:' AND key < 'claim;'")
        ((entries,),) = self._sql(total)
        return int(entries) - int(claims)

    def claim(self, key: str, token: bytes, ttl_s: float) -> Standing:
        is_granted = self.add(_CLAIM_PREFIX + key, token, expire=ttl_s)
        return Standing(value=self.get(key), is_taken=not is_granted)

    def renew(self, key: str, token: bytes, ttl_s: float) -> None:
        """Claim again, unless somebody else has meanwhile."""
        if self.get(_CLAIM_PREFIX + key) in {None, token}:
            self.set(_CLAIM_PREFIX + key, token, expire=ttl_s)

    def release(self, key: str, token: bytes) -> None:
        if self.get(_CLAIM_PREFIX + key) == token:
            self.delete(_CLAIM_PREFIX + key)


class _BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """How diskcache turns keys and values to columns: never by pickle or file."""

    def put(self, key: str) -> tuple[str, bool]:
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        return key

    def store(
        self, value: bytes, read: bool, key: Any = None
    ) -> tuple[int, int, None, memoryview]:
        return 0, _MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: int, filename: Any, value: Any, read: bool) -> bytes | None:
        return value if mode == _MODE_RAW and isinstance(value, bytes) else None

    def remove(self, file_path: str) -> None:
        """Nothing: this cache has no files, whatever the database says."""
