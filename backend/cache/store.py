"""What a cache store is: values by key, and leases on keys.

A store raises its own faults and names their types; `Cache` turns them into misses.
To add one, write these methods in a file of their own and choose it in `open_cache`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

# A lease that claims to last longer was made by nobody, or by a clock that was wrong.
LONGEST_LEASE_S: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class MemoryUsage:
    """How much a store that is shared with others may take.

    Attributes:
        used_bytes: of all that is in it.
        limit_bytes: 0 for no limit.
        policy: what happens at the limit, in the store's own words.
    """

    used_bytes: int
    limit_bytes: int
    policy: str


@dataclass(frozen=True, kw_only=True)
class CacheSize:
    """What a store holds.

    Attributes:
        entries: values of ours.
        bytes: of the values, or of all that is in use of a file that is all ours.
        room: of a store that is not ours alone, if it says.
    """

    entries: int
    bytes: int
    room: MemoryUsage | None = None


@dataclass(frozen=True, kw_only=True)
class LeaseState:
    """How far the value of one key has come, wherever it is being computed.

    Attributes:
        value: what the store holds, None while there is nothing.
        is_leased: somebody is computing it; in the answer to a lease, somebody else.
    """

    value: bytes | None = None
    is_leased: bool = False


class StoreClosed(Exception):
    """The store was closed, or the program ends: nothing is wrong with it."""


class Store(Protocol):
    """Bytes by key, for a while. Any thread may call; making one connects not yet."""

    @property
    def unreachable(self) -> tuple[type[Exception], ...]:
        """Exceptions after which nothing of the store can be used."""

    @property
    def refused(self) -> tuple[type[Exception], ...]:
        """Exceptions that speak of one kind of command; looked at first."""

    @property
    def secrets(self) -> Sequence[str]:
        """Texts that a fault might quote and no log may show."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One value or None per key, in the order of `keys`, at least one."""

    def put(self, key: str, value: bytes) -> None:
        """Store `value` until its TTL has passed."""

    def measure(self) -> CacheSize:
        """What the store holds."""

    def clear(self) -> int:
        """Forget every value of ours, nothing of anybody else's; how many."""

    def describe(self) -> str:
        """Where the store is, for logs and `/health`; shows no password."""

    def close(self) -> None:
        """Let go of connections and files."""


class Leases(Protocol):
    """Who computes which key."""

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        """Take the leases of what nobody else computes, in the name of `token`.

        The values are read after the leases are made: one that another process
        stored between a miss and the lease is found. Counts neither hits nor
        misses.

        Args:
            keys: to be computed now.
            token: not to be guessed; of this holder and this computation.
            ttl_s: until a lease ends that is not renewed.
        """

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        """Let the leases of `token` last for `ttl_s` from now on.

        One that nobody holds is taken again: the store may have lost it.
        """

    def release(self, keys: Sequence[str], token: str) -> None:
        """End the leases of `token`, and nobody else's."""

    def peek(self, key: str) -> LeaseState:
        """Value and lease of one key, for who waits; counts no hit and no miss."""


class LeasingStore(Store, Leases, Protocol):
    """A store that keeps the leases beside the values."""
