"""Who computes what, so that no two processes or machines compute the same.

A lease is held while a pass runs, never while work stands in line: whoever is
refused waits for a computation that has begun. Its holder renews it, so that a
holder that dies costs the others `ttl_s` and a slow one is not computed twice.
Knows no model; a store that is away grants every lease.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backend.cache.store import Leases, LeaseState

LEASE_TTL_S = 10.0
# Three renewals may go astray before a lease ends.
_RENEWALS_PER_LEASE = 3.5
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25


class LeasedElsewhere(Exception):
    """Another process holds the lease: its value will be in the cache, or its turn."""


@contextmanager
def hold_leases(
    leases: Leases, keys: Sequence[str], *, ttl_s: float
) -> Iterator[list[LeaseState]]:
    """Lease keys, keep the leases while the block runs, and release them.

    Args:
        leases: of a cache that others look into as well.
        keys: each once.
        ttl_s: how long a lease outlives a holder that was killed.

    Yields:
        For each key what is known of it. To be computed is what is neither taken
        nor has a value.
    """
    token = secrets.token_hex(16)
    states = leases.acquire(keys, token, ttl_s)
    ours = [key for key, it in zip(keys, states, strict=True) if not it.is_leased]
    if not ours:
        yield states
        return
    is_done = threading.Event()

    def renew() -> None:
        while not is_done.wait(ttl_s / _RENEWALS_PER_LEASE):
            leases.renew(ours, token, ttl_s)

    renewer = threading.Thread(target=renew, name="renew-leases", daemon=True)
    renewer.start()
    try:
        yield states
    finally:
        is_done.set()
        # A renewal that is under way must not come after the release.
        renewer.join()
        leases.release(ours, token)


def poll_intervals_s() -> Iterator[float]:
    """Seconds between looks at what somebody else computes: short ones first."""
    pause_s = _SHORTEST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
