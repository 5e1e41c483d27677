"""What waits in this process and in the queue, for `/metrics`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import redis

from backend.batch import Backlog
from backend.engine import Engine

# A Redis that is away is not asked by every scrape: each would wait for its timeout.
_AWAY_S: Final = 60.0


@dataclass(kw_only=True, eq=False)
class Waiting:
    """Asked at every scrape; never raises.

    Attributes:
        engine: whose model images wait for.
        backlog: of tasks, and the queue of workers where there is one.
    """

    engine: Engine
    backlog: Backlog
    _away_until: float = field(default=0.0, init=False)

    def __call__(self) -> Mapping[str, int]:
        """How much waits, by where."""
        found = {
            "model": self.engine.predictor.scorer.n_waiting,
            "backlog": self.backlog.n_waiting,
        }
        queue = self.backlog.queue
        if queue is not None and time.monotonic() >= self._away_until:
            try:
                found["workers"] = queue.n_waiting()
            except (redis.RedisError, OSError, ValueError):
                self._away_until = time.monotonic() + _AWAY_S
        return found
