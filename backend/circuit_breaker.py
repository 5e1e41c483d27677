"""Faults and successes of one thing in, whether it is worth trying now out.

Knows neither what the thing is nor what a fault is.
"""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class CircuitBreaker:
    """One thing that can break, and whether it is worth trying now.

    After `failure_threshold` faults in a row it refuses for `cooldown_s`, then lets
    one caller at a time try, until a try succeeds. Each try that fails doubles the
    pause before the next, up to `longest_cooldown_s` where there is one, so that a
    thing which hangs costs its callers ever less.
    """

    def __init__(
        self,
        name: str,
        *,
        cooldown_s: float,
        clock: Callable[[], float],
        longest_cooldown_s: float | None = None,
        failure_threshold: int = 1,
    ) -> None:
        self._name = name
        self._cooldown_s = cooldown_s
        self._longest_cooldown_s = longest_cooldown_s or cooldown_s
        self._pause_s = cooldown_s
        self._is_tried = False
        self._clock = clock
        self._faults_to_break = failure_threshold
        self._lock = threading.Lock()
        self._faults = 0
        self._next_try = 0.0

    def allows(self) -> bool:
        """Whether to try now; True claims the one try of an open breaker."""
        return self.pause_s() == 0

    def pause_s(self) -> float:
        """Seconds until a try; 0 is now, and claims the one try of an open breaker."""
        with self._lock:
            if self._faults < self._faults_to_break:
                return 0
            now = self._clock()
            if now < self._next_try:
                return self._next_try - now
            self._next_try = now + self._pause_s
            self._is_tried = True
            return 0

    def record_failure(self, reason: str) -> None:
        """Record a fault; the one that begins an outage is logged."""
        with self._lock:
            self._faults += 1
            breaks = self._faults == self._faults_to_break
            if self._is_tried:
                # Faults of callers that came before the outage double nothing.
                self._is_tried = False
                self._pause_s = min(2 * self._pause_s, self._longest_cooldown_s)
            self._next_try = self._clock() + self._pause_s
        if breaks:
            logger.warning(
                "%s failed: %s. Continuing without it; next attempt in %g s.",
                self._name,
                reason,
                self._cooldown_s,
            )

    def record_success(self) -> None:
        """Record a success; the first after an outage is logged."""
        with self._lock:
            recovered = self._faults >= self._faults_to_break
            self._faults = 0
            self._pause_s = self._cooldown_s
            self._is_tried = False
        if recovered:
            logger.info("%s is available again.", self._name)
