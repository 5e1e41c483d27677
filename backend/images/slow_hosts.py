"""Hosts that hang: asked no more for a while, so that others get the time.

Every fetch may wait for the whole of its timeout, and only so many run at a time:
without this, a request whose first images lie on a host that never answers would
spend all of its time on them, each time that it is tried.
"""

import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from backend.circuit_breaker import CircuitBreaker
from backend.deadline import Deadline
from backend.errors import ImageError, ImageTooSlow
from backend.http import origin, shorten

_TIMEOUTS_IN_A_ROW: Final = 3
_PAUSE_S: Final = 60.0
# Tasks name as many hosts as they like; memory stays bounded.
_MOST_HOSTS: Final = 1_000

_Place = tuple[str, int]


class HostCircuitBreakers:
    """Thread-safe memory of the hosts that timed out last, by host and port."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know no host; `clock` gives monotonic seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._breakers: OrderedDict[_Place, CircuitBreaker] = OrderedDict()

    @contextlib.contextmanager
    def asking(self, url: httpx.URL, deadline: Deadline) -> Iterator[None]:
        """Watch over one exchange with the URL's host; what it raises passes through.

        A host that failed in another way than by a timeout answers, or fails at
        once: either keeps nobody waiting. A timeout counts against a host that had
        at least half of the time; another may have used up the rest before it
        redirected.

        Raises:
            ImageTooSlow: without running the block, if the host timed out three
                times in a row and its pause is not over. After the pause one caller
                is let through.
        """
        place = origin(url)[1:]
        self._refuse_in_pause(url, place, deadline)
        granted_s = deadline.remaining_s()
        try:
            yield
        except ImageTooSlow:
            if granted_s >= deadline.limit_s / 2:
                self._trip(place, f"no answer within {deadline.limit_s:g} s")
            raise
        except ImageError:
            self._forget(place)
            raise
        self._forget(place)

    def _refuse_in_pause(
        self, url: httpx.URL, place: _Place, deadline: Deadline
    ) -> None:
        with self._lock:
            breaker = self._breakers.get(place)
        pause_s = 0.0 if breaker is None else breaker.pause_s()
        if pause_s > 0:
            raise ImageTooSlow(
                f"{shorten(str(url))} was not asked for: {_name(place)} did not answer "
                f"within {deadline.limit_s:g} s {_TIMEOUTS_IN_A_ROW} times in a row, "
                f"and is asked again in {math.ceil(pause_s)} s. Check the server, or "
                f"raise FETCH_TIMEOUT_S."
            )

    def _trip(self, place: _Place, reason: str) -> None:
        with self._lock:
            breaker = self._breakers.setdefault(
                place,
                CircuitBreaker(
                    f"Host {_name(place)}",
                    cooldown_s=_PAUSE_S,
                    clock=self._clock,
                    failure_threshold=_TIMEOUTS_IN_A_ROW,
                ),
            )
            self._breakers.move_to_end(place)
            while len(self._breakers) > _MOST_HOSTS:
                self._breakers.popitem(last=False)
        breaker.record_failure(reason)

    def _forget(self, place: _Place) -> None:
        with self._lock:
            breaker = self._breakers.pop(place, None)
        if breaker is not None:
            breaker.record_success()


def _name(place: _Place) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
