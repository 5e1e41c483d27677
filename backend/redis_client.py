"""A REDIS_URL in, a client of redis-py out.

Nothing is connected yet: a server, the master that Sentinels name, and a cluster
are all found by the first command. Knows URLs and timeouts, and nothing of what is
stored.
"""

import re
import threading
from collections.abc import Mapping
from typing import Any, Final, TypeGuard
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url, to_bool
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from backend.errors import SettingsError, causes

# What any command may raise. RedisClusterException is no RedisError, and redis-py's
# parser raises ValueError on an answer that is not Redis's.
REDIS_FAULTS: Final = (redis.RedisError, RedisClusterException, OSError, ValueError)

_REDIS_PORT: Final = 6379
_PORTS: Final = {"cluster": _REDIS_PORT, "sentinel": 26379}
# What redis-py has no URL for: scheme, kind, login and hosts, path, options.
_SEVERAL_HOSTS: Final = re.compile(
    r"(rediss?)\+(cluster|sentinel)://([^/?#]*)([^?#]*)\??([^#]*)"
)
# What a connection to a Sentinel has in common with one to its Redis.
_SHARED_WITH_SENTINELS: Final = ("protocol", "retry", "socket_", "ssl")


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


RedisClient = redis.Redis | ClusterClient


def redis_client(
    url: str, *, connect_timeout_s: float, read_timeout_s: float
) -> RedisClient:
    """Make a client that does not try anything twice by itself.

    Args:
        url: `redis://[user:password@]host:port/db`, `rediss://` for TLS,
            `unix:///path`, `redis+sentinel://[user:password@]host[:port][,...]/
            service[/db]` for the master of Sentinels, or `redis+cluster://
            [user:password@]host[:port][,...]`; the last two begin with `rediss+`
            for TLS. Options in the query (such as `?socket_timeout=5`), as redis-py
            reads them, win over ours. The Sentinels' own are `sentinel_username`,
            `sentinel_password` and `sentinel_ssl`, which is as for their Redis if
            not given; without a password of their own they get none.
        connect_timeout_s: for a connection to be there. A Sentinel that is away
            costs it once, and then the next is asked.
        read_timeout_s: for an answer to be there.

    Raises:
        SettingsError: if the URL cannot be read; the message does not show it.
    """
    ours = {
        "socket_connect_timeout": connect_timeout_s,
        "socket_timeout": read_timeout_s,
        "protocol": 2,
        # redis-py's own default is 3 tries with pauses. Pooled connections
        # that a restart killed are replaced without one.
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        if parts := _SEVERAL_HOSTS.fullmatch(url):
            return _client_of_several_hosts(*parts.groups(), ours=ours)
        client = redis.Redis.from_url(url, **ours)
        _check_options(client.connection_pool)
    except (ValueError, TypeError, redis.RedisError):
        # From None and without the cause's text: both may quote the password.
        raise SettingsError(
            "REDIS_URL cannot be read. Write it as redis://:password@host:6379/0 "
            "(rediss:// for TLS, unix:///path for a socket, redis+sentinel://host:"
            "26379,host:26379/service/0 or redis+cluster://host:6379,host:6379, both "
            "with rediss+ for TLS), with special characters of the password "
            "percent-encoded."
        ) from None
    return client


def is_cluster(client: RedisClient) -> TypeGuard[ClusterClient]:
    """Whether keys are spread over nodes: no commands or scripts on several keys."""
    return isinstance(client, ClusterClient)


def close_redis(client: RedisClient) -> None:
    """Drop the connections, those to Sentinels as well."""
    client.close()
    for sentinel in _sentinels(client):
        sentinel.close()


def describe_redis(client: RedisClient) -> str:
    """Where the server is, for logs and `/health`; never shows a password."""
    if isinstance(client, ClusterClient):
        return f"Redis Cluster at {', '.join(f'{h}:{p}' for h, p in client.nodes)}"
    pool = client.connection_pool
    options = pool.connection_kwargs
    if isinstance(pool, SentinelConnectionPool):
        at = ", ".join(_address(one) for one in _sentinels(client))
        return f"Redis {pool.service_name}/{options.get('db', 0)} of Sentinels at {at}"
    if "path" in options:
        return f"Redis at {options['path']}"
    return f"Redis at {_address(client)}/{options.get('db', 0)}"


def network_reason(error: Exception) -> str:
    """What the system says of a connection that failed; "" where it says nothing.

    redis-py's own text may quote more.
    """
    reasons = [e.strerror for e in causes(error) if isinstance(e, OSError)]
    return next((reason.lower() for reason in reasons if reason), "")


def redis_secrets(client: RedisClient) -> list[str]:
    """Texts that a server might echo in an error and no log may show."""
    if isinstance(client, ClusterClient):
        options = [client.options]
    else:
        options = [
            one.connection_pool.connection_kwargs
            for one in (client, *_sentinels(client))
        ]
    return sorted({text for each in options for text in _passwords(each)})


def _client_of_several_hosts(
    scheme: str,
    kind: str,
    authority: str,
    path: str,
    query: str,
    *,
    ours: Mapping[str, Any],
) -> RedisClient:
    login, at, hosts = authority.rpartition("@")
    # redis-py reads one host; for all but the hosts, its reading counts.
    options = dict(parse_url(f"{scheme}://{login}{at}host?{query}"))  # type: ignore[no-untyped-call]
    del options["host"]
    # Asked for by name: both clients choose their own classes of connections.
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    make = _cluster_client if kind == "cluster" else _sentinel_client
    return make(
        [_host_and_port(host, _PORTS[kind]) for host in hosts.split(",")],
        [unquote(name) for name in path.split("/") if name],
        {**ours, **options},
    )


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.netloc != text:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port


def _sentinel_client(
    hosts: list[tuple[str, int]], path: list[str], options: dict[str, Any]
) -> redis.Redis:
    service, *database = path
    if database:
        (number,) = database
        options["db"] = int(number)
    sentinel_options = {
        name: value
        for name, value in options.items()
        if name.startswith(_SHARED_WITH_SENTINELS)
    }
    for name in ("username", "password", "ssl"):
        if f"sentinel_{name}" in options:
            sentinel_options[name] = options.pop(f"sentinel_{name}")
    sentinel_options["ssl"] = to_bool(sentinel_options.get("ssl", False))  # type: ignore[no-untyped-call]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        hosts, sentinel_kwargs=sentinel_options
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        service, **options
    )
    _check_options(client.connection_pool)
    return client


def _cluster_client(
    hosts: list[tuple[str, int]], path: list[str], options: dict[str, Any]
) -> ClusterClient:
    if path not in ([], ["0"]) or options.pop("db", 0) != 0:
        raise ValueError("a cluster has one database")
    # A cluster's client drops options that it does not know.
    _check_options(redis.Redis(**options).connection_pool)
    return ClusterClient(hosts, options)


def _check_options(pool: redis.ConnectionPool) -> None:
    """Unknown ones would otherwise surface at the first command."""
    pool.connection_class(**pool.connection_kwargs)


def _sentinels(client: RedisClient) -> list[redis.Redis]:
    pool = None if isinstance(client, ClusterClient) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        sentinels: list[redis.Redis] = pool.sentinel_manager.sentinels
        return sentinels
    return []


def _address(client: redis.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return f"{options.get('host', 'localhost')}:{options.get('port', _REDIS_PORT)}"


def _passwords(options: Mapping[str, Any]) -> list[str]:
    return [
        str(value) for name, value in options.items() if value and "password" in name
    ]
