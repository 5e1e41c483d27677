"""What was asked of a Redis, and what it holds, by its own account."""

from typing import Any

import redis


def redis_counters(client: redis.Redis) -> dict[str, float]:
    """Calls by command, and bytes "in" and "out"; but for those of this very look.

    The commands that a script calls are counted as well.
    """
    commands: Any = client.info("commandstats")
    stats: Any = client.info("stats")
    calls = {
        name.removeprefix("cmdstat_"): float(numbers["calls"])
        for name, numbers in commands.items()
    }
    calls.pop("info", None)
    return calls | {
        "in": float(stats["total_net_input_bytes"]),
        "out": float(stats["total_net_output_bytes"]),
    }


def used_bytes(client: redis.Redis) -> int:
    """Memory that the server's data takes."""
    memory: Any = client.info("memory")
    return int(memory["used_memory"])
