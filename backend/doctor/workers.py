"""Checks of who does the jobs of `preannotate`. Looks only; no job is queued."""

import contextlib

import redis

from backend.batch import JobQueue, queue_connection
from backend.doctor.findings import Check, ok, skipped, warning
from backend.errors import SettingsError
from backend.settings import Settings


def check_workers(settings: Settings, queue_name: str) -> Check[None]:
    """Whether workers are there that would make these settings' predictions.

    Args:
        settings: of the operator.
        queue_name: of the queue of all who make such predictions.
    """
    subject = "workers"
    if settings.redis_url is None:
        yield ok(subject, "none without REDIS_URL; `preannotate` does the work itself")
        return
    try:
        connection = queue_connection(settings.redis_url.get_secret_value())
    except SettingsError:
        yield warning(
            subject,
            "jobs cannot be queued on a Redis Cluster; it serves the cache alone",
            "Use `diffsegmenter preannotate --here`, or set REDIS_URL to one Redis.",
        )
        return
    with contextlib.closing(connection):
        queue = JobQueue(connection, queue_name)
        try:
            n_workers, n_waiting = queue.n_workers(), queue.n_waiting()
            others = sorted(queue.other_workers())
        except (redis.RedisError, OSError, ValueError):
            yield skipped(subject, "Redis cannot be used")
            return
    waiting = ""
    if n_waiting:
        waiting = ", 1 job waits" if n_waiting == 1 else f", {n_waiting} jobs wait"
    seen = f"{n_workers} for these settings ({queue_name}){waiting}"
    if not n_workers and others:
        yield warning(
            subject,
            f"{seen}; there are some for {', '.join(others)}",
            "Give the workers the environment of the backend: MODEL and all options "
            "must be the same.",
        )
    elif not n_workers and n_waiting:
        yield warning(subject, seen, "Start one: diffsegmenter worker")
    else:
        yield ok(subject, seen)
