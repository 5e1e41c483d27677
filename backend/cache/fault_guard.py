"""A store that may fail in, a store that never raises out.

`FaultGuard` runs one command against a store and turns a fault into None, one
log line per outage, and a pause during which the store is left alone. It knows
no store: which exceptions are faults is told to it.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from backend.cache.store import StoreClosed
from backend.circuit_breaker import CircuitBreaker

T = TypeVar("T")

# Of a store that hangs, its read timeout is paid once in this time.
LONGEST_COOLDOWN_S = 60.0


class CacheStats:
    """Counters since the start; any thread may read or add.

    Attributes:
        hits: keys that were found.
        misses: keys that were not, for whatever reason.
        faults: commands that reached for the store and failed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        self.faults = 0

    def add(self, *, hits: int = 0, misses: int = 0, faults: int = 0) -> None:
        """Add to the counters in one step."""
        with self._lock:
            self.hits += hits
            self.misses += misses
            self.faults += faults


class FaultGuard:
    """Runs commands against one store; a fault is None, never an exception.

    An unreachable store stops everything. A store that answers but refuses
    (a read-only replica, a full disk) stops only commands of the refused kind,
    so that a cache which cannot be written still serves what it holds.

    Args:
        store: the store's name in log lines, without secrets.
        unreachable: exceptions after which nothing of the store can be used.
        refused: exceptions that speak of one kind of command; looked at first.
        secrets: texts that a store might echo in an error and no log may show.
        stats: where faults are counted.
        cooldown_s: pause after the first fault; doubled with each try that fails,
            up to `LONGEST_COOLDOWN_S`.
        clock: seconds that never go back, usually `time.monotonic`.
    """

    def __init__(
        self,
        store: str,
        *,
        unreachable: tuple[type[Exception], ...],
        refused: tuple[type[Exception], ...],
        secrets: Sequence[str] = (),
        stats: CacheStats,
        cooldown_s: float,
        clock: Callable[[], float],
    ) -> None:
        def breaker(name: str) -> CircuitBreaker:
            return CircuitBreaker(
                name,
                cooldown_s=cooldown_s,
                longest_cooldown_s=max(cooldown_s, LONGEST_COOLDOWN_S),
                clock=clock,
            )

        self._store = breaker(store)
        self._reads = breaker(f"Reading from {store}")
        self._writes = breaker(f"Writing to {store}")
        # Apart from the writes: an access list that knows nothing of leases must
        # not cost the values.
        self._leases = breaker(f"Sharing work through {store}")
        self._unreachable = unreachable
        self._refused = refused
        self._secrets = tuple(filter(None, secrets))
        self._stats = stats

    def read(self, command: Callable[[], T]) -> T | None:
        """Answer of a command that changes nothing, or None after a fault."""
        return self._run(self._reads, command)

    def write(self, command: Callable[[], T]) -> T | None:
        """Answer of a command that stores something, or None after a fault."""
        return self._run(self._writes, command)

    def acquire(self, command: Callable[[], T]) -> T | None:
        """Answer of a command about who computes what, or None after a fault."""
        return self._run(self._leases, command)

    def _run(self, kind: CircuitBreaker, command: Callable[[], T]) -> T | None:
        if not (kind.allows() and self._store.allows()):
            return None
        try:
            answer = command()
        except StoreClosed:
            return None
        except self._refused as e:
            self._stats.add(faults=1)
            self._store.record_success()
            kind.record_failure(self._explain(e))
            return None
        except self._unreachable as e:
            self._stats.add(faults=1)
            self._store.record_failure(self._explain(e))
            return None
        self._store.record_success()
        kind.record_success()
        return answer

    def _explain(self, error: Exception) -> str:
        message = f"{type(error).__name__}: {error}"
        for secret in self._secrets:
            message = message.replace(secret, "***")
        return message
