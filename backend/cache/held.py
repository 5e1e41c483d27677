"""Values by key in memory, the latest of them, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

# What an entry takes beside its bytes; those without any count as well.
ENTRY_BYTES: Final = 512

V = TypeVar("V")


class HeldValues(Generic[V]):
    """What was not wanted for longest makes room. Any thread may call.

    Args:
        max_bytes: of all values; a larger one is not kept.
        n_bytes: of one value.
    """

    def __init__(self, max_bytes: int, n_bytes: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = n_bytes
        self._held: OrderedDict[str, V] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What is taken."""
        return self._held_bytes

    def get(self, key: str) -> V | None:
        """What was put under `key`, None where it is gone."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key]

    def put(self, key: str, value: V) -> None:
        """Keep a value in place of what was there, and of others for its room."""
        with self._lock:
            before = self._held.pop(key, None)
            if before is not None:
                self._held_bytes -= self._cost(before)
            # It would push all others out, and then itself.
            if self._cost(value) > self._max_bytes:
                return
            self._held[key] = value
            self._held_bytes += self._cost(value)
            while self._held_bytes > self._max_bytes:
                _, oldest = self._held.popitem(last=False)
                self._held_bytes -= self._cost(oldest)

    def _cost(self, value: V) -> int:
        return self._n_bytes(value) + ENTRY_BYTES
