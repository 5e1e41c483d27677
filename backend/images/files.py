"""Image files that were read lately in, the same out: a bounded number of bytes.

Still encoded: a tenth of what their pixels take. Knows nothing of images.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable


class RecentFiles:
    """Files by any name, the latest of them. Any thread may call.

    Args:
        max_bytes: of all files; a larger one is not kept.
        clock: monotonic seconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._held: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def get(self, name: Hashable, max_age_s: float) -> bytes | None:
        """A file that was put at most so long ago, None where there is none."""
        if max_age_s <= 0:
            return None
        with self._lock:
            found = self._held.get(name)
            if found is None or self._clock() - found[0] > max_age_s:
                return None
            self._held.move_to_end(name)
            return found[1]

    def put(self, name: Hashable, data: bytes) -> None:
        """Keep a file in place of those that were not wanted for longest."""
        if len(data) > self._max_bytes:
            return
        with self._lock:
            _, before = self._held.pop(name, (0, b""))
            self._held[name] = self._clock(), data
            self._held_bytes += len(data) - len(before)
            while self._held_bytes > self._max_bytes:
                _, (_, oldest) = self._held.popitem(last=False)
                self._held_bytes -= len(oldest)
