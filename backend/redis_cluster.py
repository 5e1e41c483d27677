"""Nodes in, a client of their cluster out, once somebody uses it."""

import threading
from typing import Any

import redis
from redis.cluster import ClusterNode


class ClusterClient:
    """A `redis.RedisCluster` that looks for its cluster with the first command.

    That one connects when it is made, which is too early: a backend starts while
    its Redis is away.
    """

    def __init__(self, nodes: list[tuple[str, int]], options: dict[str, Any]) -> None:
        self.nodes = nodes
        self.options = options
        self._lock = threading.Lock()
        self._found: redis.RedisCluster | None = None
        self._failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster(), name)

    def close(self) -> None:
        """Drop the connections."""
        if self._found is not None:
            self._found.close()

    def _cluster(self) -> redis.RedisCluster:
        seen = self._failures
        with self._lock:
            if self._found is None:
                if self._failures != seen:
                    # Who waited for a search that failed does not search again.
                    raise redis.ConnectionError("no node of the cluster answers")
                try:
                    self._found = self._search()
                except BaseException:
                    self._failures += 1
                    raise
            return self._found

    def _search(self) -> redis.RedisCluster:
        return redis.RedisCluster(
            startup_nodes=[
                ClusterNode(host, port)  # type: ignore[no-untyped-call]
                for host, port in self.nodes
            ],
            # Half a cluster is half a cache.
            require_full_coverage=False,
            # Names are asked for again after the nodes behind them have changed.
            dynamic_startup_nodes=False,
            **self.options,
        )
