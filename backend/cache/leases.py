"""Who computes what, so that no two processes or machines compute the same.

A claim is held while a pass runs, never while work stands in line: whoever is
refused waits for a computation that has begun. Its holder renews it, so that a
holder that dies costs the others `ttl_s` and a slow one is not computed twice.
Knows no model; a store that is away grants every claim.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backend.cache.fault_guard import Standing
from backend.cache.store import Cache

CLAIM_S = 10.0
# Three renewals may go astray before a claim ends.
_RENEWALS_PER_CLAIM = 3.5
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25


class ComputedElsewhere(Exception):
    """Somebody else has claimed it; its value will be in the cache, or its turn."""


@contextmanager
def claimed(
    cache: Cache, keys: Sequence[str], *, ttl_s: float
) -> Iterator[list[Standing]]:
    """Claim keys, keep the claims while the block runs, and release them.

    Args:
        cache: where claims are visible to others.
        keys: each once.
        ttl_s: how long a claim outlives a holder that was killed.

    Yields:
        For each key what is known of it. To be computed is what is neither taken
        nor has a value.
    """
    token = secrets.token_hex(16)
    standings = cache.claim(keys, token, ttl_s)
    ours = [key for key, it in zip(keys, standings, strict=True) if not it.is_taken]
    if not ours:
        yield standings
        return
    is_done = threading.Event()

    def renew() -> None:
        while not is_done.wait(ttl_s / _RENEWALS_PER_CLAIM):
            cache.renew(ours, token, ttl_s)

    renewer = threading.Thread(target=renew, name="renew-claims", daemon=True)
    renewer.start()
    try:
        yield standings
    finally:
        is_done.set()
        # A renewal that is under way must not come after the release.
        renewer.join()
        cache.release(ours, token)


def pauses_s() -> Iterator[float]:
    """Seconds between looks at what somebody else computes: short ones first."""
    pause_s = _SHORTEST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
