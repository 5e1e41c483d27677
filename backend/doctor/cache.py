"""Checks of where results are kept: Redis, or a folder of the embedded cache.

Settings in, findings out. Writes one key, or one file, and leaves nothing behind.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Final

import redis

from backend.cache import (
    CONNECT_TIMEOUT_S,
    KEY_PREFIX,
    READ_TIMEOUT_S,
    SIZE_LIMIT_BYTES,
    MemoryUsage,
    redis_memory_usage,
)
from backend.doctor.findings import Check, Finding, ok, problem, warning
from backend.errors import SettingsError, causes
from backend.redis_client import (
    REDIS_FAULTS,
    RedisClient,
    close_redis,
    describe_redis,
    network_reason,
    redis_client,
)
from backend.settings import Settings

_OLDEST_REDIS: Final = 6
# A lookup costs one round trip for each request; beyond this it can be felt.
_SLOW_REDIS_S: Final = 0.05
_PINGS: Final = 5
_NEARLY_FULL_01: Final = 0.9
# What a connection to a Redis in protected mode ends with, as from another container:
# its own sentence about that is lost when it hangs up.
_CLOSED_AT_ONCE: Final = (BrokenPipeError, ConnectionResetError)
_LEAVE_PROTECTED_MODE: Final = (
    "If only its own machine may reach it (protected mode), give it a password "
    "(requirepass) and write it into REDIS_URL."
)
_BETTER_POLICY: Final = "Type: redis-cli CONFIG SET maxmemory-policy volatile-lru"


def check_cache(settings: Settings) -> Check[None]:
    """Whether results can be kept; without a cache all is slower, nothing wrong."""
    if settings.redis_url is None:
        yield from _check_folder(settings)
    else:
        yield from _check_redis(settings.redis_url.get_secret_value())


def _check_folder(settings: Settings) -> Check[None]:
    folder = settings.cache_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        yield problem(
            "cache",
            f"CACHE_DIR={folder} cannot be written to ({error.strerror})",
            "Set CACHE_DIR to a folder that this user may write to, or REDIS_URL.",
        )
        return
    seen = f"embedded, in {folder}, {free_bytes / 1e9:.1f} GB free"
    if free_bytes < SIZE_LIMIT_BYTES:
        yield warning(
            "cache",
            f"{seen}; it grows to {SIZE_LIMIT_BYTES / 1e9:.1f} GB",
            "Make room there, or set CACHE_DIR to a folder on a larger disk.",
        )
        return
    yield ok("cache", seen)


def _check_redis(url: str) -> Check[None]:
    try:
        client = redis_client(
            url, connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S
        )
    except SettingsError as error:
        seen, _, remedy = str(error).partition(". ")
        yield problem("cache", seen, remedy)
        return
    place = describe_redis(client)
    try:
        yield from _examine_redis(client, place)
    except (*REDIS_FAULTS, TypeError) as error:
        yield _redis_failure(error, place)
    finally:
        close_redis(client)


def _examine_redis(client: RedisClient, place: str) -> Check[None]:
    client.set(f"{KEY_PREFIX}doctor", "ok", ex=10)
    client.get(f"{KEY_PREFIX}doctor")
    started = time.monotonic()
    for _ in range(_PINGS):
        client.ping()
    latency_s = (time.monotonic() - started) / _PINGS
    seen = f"{place} answers in {latency_s * 1000:.1f} ms"
    try:
        info: Mapping[str, Any] = client.info()
    except redis.ResponseError:  # an access list may refuse it
        yield ok("cache", f"{seen}; it does not tell its version and memory")
        return
    version = str(info.get("redis_version"))
    room = redis_memory_usage(client)
    seen = f"{seen}; version {version}, memory: {_memory(room)}"
    if int(version.partition(".")[0]) < _OLDEST_REDIS:
        yield warning("cache", seen, f"Use Redis {_OLDEST_REDIS} or newer.")
    elif room is not None and (complaint := _policy_complaint(room)):
        yield warning("cache", f"{seen}: {complaint}", _BETTER_POLICY)
    elif latency_s > _SLOW_REDIS_S:
        yield warning("cache", seen, "Set REDIS_URL to a Redis that is nearer.")
    else:
        yield ok("cache", seen)


def _memory(room: MemoryUsage | None) -> str:
    if room is None or not room.limit_bytes:
        return "no limit"
    return f"{room.limit_bytes / 1e6:.0f} MB, {room.policy}"


def _policy_complaint(room: MemoryUsage) -> str:
    """What is wrong with the policy; results alone have an end, jobs have none."""
    if not room.limit_bytes:
        return ""
    if room.policy.startswith("allkeys-"):
        return "when it is full, jobs that wait are thrown out like results"
    if room.policy != "noeviction":
        return ""
    used_01 = room.used_bytes / room.limit_bytes
    if used_01 > _NEARLY_FULL_01:
        return (
            f"it is {used_01:.0%} full, and then nothing new is kept, results or jobs"
        )
    return "when it is full, nothing new is kept"


def _redis_failure(error: Exception, place: str) -> Finding:
    """The reason. Requests are answered all the same; runs and workers cannot begin."""
    seen = f"everything is computed anew each time: {place} cannot be used"
    why, remedy = _why_unusable(error)
    needed = "`preannotate` and `worker` need it to begin."
    return problem("cache", f"{seen}{why and f': {why}'}", remedy, needed)


def _why_unusable(error: Exception) -> tuple[str, str]:
    """What keeps a Redis from being used, and what to do."""
    if isinstance(error, redis.AuthenticationError):
        return (
            "it does not accept the password, or wants one",
            "Set REDIS_URL=redis://:PASSWORD@host:6379/0, special characters of the "
            "password percent-encoded.",
        )
    if isinstance(error, redis.OutOfMemoryError):
        return "it is full", _BETTER_POLICY
    if isinstance(error, redis.ResponseError):
        remedy = f"Set REDIS_URL to a Redis where keys {KEY_PREFIX}* may be written."
        return str(error), remedy
    why = network_reason(error)
    if isinstance(error, redis.TimeoutError):
        why = f"no answer within {CONNECT_TIMEOUT_S + READ_TIMEOUT_S:g} s"
    if any(isinstance(e, _CLOSED_AT_ONCE) for e in causes(error)):
        return "it closes connections at once", _LEAVE_PROTECTED_MODE
    remedy = "Start Redis there, correct REDIS_URL, or unset it for the embedded cache."
    return why, remedy
