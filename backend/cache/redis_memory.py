"""A client in, what its Redis has room for out.

Redis says it to whoever may ask for INFO; all keys in it count, ours and others'.
"""

from collections.abc import Mapping
from typing import Any

import redis

from backend.cache.fault_guard import MemoryUsage
from backend.redis_client import RedisClient, is_cluster


def redis_memory_usage(client: RedisClient) -> MemoryUsage | None:
    """Memory and eviction policy, of all masters of a cluster together.

    Returns:
        None where an access list or a service refuses to say.

    Raises:
        redis.RedisError: if Redis does not answer.
    """
    try:
        found: Any = (
            client.info("memory", target_nodes="primaries")
            if is_cluster(client)
            else client.info("memory")
        )
    except redis.ResponseError:
        return None
    # Several nodes answer by their names, and one alone does not.
    is_one = "used_memory" in found
    nodes: list[Mapping[str, Any]] = [found] if is_one else list(found.values())
    return MemoryUsage(
        used_bytes=sum(int(node["used_memory"]) for node in nodes),
        limit_bytes=sum(int(node.get("maxmemory", 0)) for node in nodes),
        policy=str(nodes[0].get("maxmemory_policy", "")),
    )
