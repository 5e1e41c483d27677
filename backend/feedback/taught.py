"""A project in, what counts of its labels' lessons out, at the price of a dict.

Every request asks; the store is asked at most every few seconds. While it is away, what
was known last goes on to count: the version of predictions says which that is.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from backend.errors import FeedbackUnavailable
from backend.feedback.store import FeedbackStore
from backend.feedback.teaching import has_gained
from backend.feedback.types import read_heads
from backend.inference import Taught

logger = logging.getLogger(__name__)

_FRESH_S: Final = 2.0
# A store that is away is not asked by every request: each would wait for its timeout.
_AWAY_S: Final = 10.0
_MOST_PROJECTS: Final = 256


class TaughtProjects:
    """What was learned, by project. Any thread may call; no call raises."""

    def __init__(
        self, store: FeedbackStore, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask `store`; nothing is asked yet. `clock` gives monotonic seconds."""
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Taught | None]] = OrderedDict()
        self._away_until = 0.0
        self._is_away = False
        self._lock = threading.Lock()

    def __call__(self, project: str | None) -> Taught | None:
        """What counts for a project, by Label Studio's number or name of it."""
        name = project_number(project)
        if name is None:
            return None
        now = self._clock()
        with self._lock:
            asked_at, taught = self._known.get(name, (-_FRESH_S, None))
            if now < max(asked_at + _FRESH_S, self._away_until):
                return taught
        try:
            taught = self._read(name)
        except FeedbackUnavailable as error:
            self._note_away(str(error), now)
            return taught
        with self._lock:
            if self._is_away:
                logger.info("What projects have learned can be read again.")
            self._is_away, self._away_until = False, 0.0
            self._known[name] = (now, taught)
            self._known.move_to_end(name)
            while len(self._known) > _MOST_PROJECTS:
                self._known.popitem(last=False)
        return taught

    def _read(self, name: str) -> Taught | None:
        found = self._store.heads(name)
        heads = read_heads(found, name)
        if found is None or heads is None or not has_gained(heads):
            return None
        return Taught(heads=heads, maps_name=found.model)

    def _note_away(self, reason: str, now: float) -> None:
        with self._lock:
            if not self._is_away:
                logger.warning(
                    "%s Until then labels are what their words say, and where more was "
                    "known, what was known last.",
                    reason,
                )
            self._is_away, self._away_until = True, now + _AWAY_S


def project_number(project: str | None) -> str | None:
    """Label Studio's number of a project, out of the "12.1700000000" that it sends."""
    number = (project or "").partition(".")[0]
    return number if number.isascii() and number.isdigit() else None
