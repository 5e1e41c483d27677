"""Keys and bytes in one SQLite file, and nothing of them unpickled or opened.

A diskcache without what makes it dangerous: what somebody else put into the file
is never unpickled, and no file name in it is ever opened or removed. Raises what
SQLite and diskcache raise.
"""

import sqlite3
from pathlib import Path
from typing import Any

import diskcache  # type: ignore[import-untyped]

from backend.cache.fault_guard import LeaseState

_BUSY_TIMEOUT_S = 1.0
# Keys of values are hexadecimal digits.
_LEASE_PREFIX = "lease:"
_MODE_RAW = diskcache.core.MODE_RAW


class BytesStore(diskcache.Cache):  # type: ignore[misc]
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
        """How many values there are; leases are none."""
        total = "SELECT COUNT(*) FROM Cache"
        # The range of keys that begin with "lease:", by way of the index.
        ((leases,),) = self._sql(f"{total} WHERE key >= 'lease:' AND key < 'lease;'")
        ((entries,),) = self._sql(total)
        return int(entries) - int(leases)

    def acquire(self, key: str, token: bytes, ttl_s: float) -> LeaseState:
        """Take the lease that nobody holds, and read the value after that."""
        is_granted = self.add(_LEASE_PREFIX + key, token, expire=ttl_s)
        return LeaseState(value=self.get(key), is_leased=not is_granted)

    def renew(self, key: str, token: bytes, ttl_s: float) -> None:
        """Lease again, unless somebody else has meanwhile."""
        if self.get(_LEASE_PREFIX + key) in {None, token}:
            self.set(_LEASE_PREFIX + key, token, expire=ttl_s)

    def release(self, key: str, token: bytes) -> None:
        """End a lease, unless it is somebody else's."""
        if self.get(_LEASE_PREFIX + key) == token:
            self.delete(_LEASE_PREFIX + key)

    def peek(self, key: str) -> LeaseState:
        """Whether anybody holds the lease, and the value after that."""
        token = self.get(_LEASE_PREFIX + key)
        return LeaseState(value=self.get(key), is_leased=token is not None)


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
