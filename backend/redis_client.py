"""A REDIS_URL in, a client of redis-py out.

Nothing is connected yet: a server, the master that Sentinels name, and a cluster
are all found by the first command. Knows URLs and timeouts, and nothing of what is
stored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from backend.errors import SettingsError
from backend.redis_cluster import ClusterClient

# What any command may raise. RedisClusterException is no RedisError, and redis-py's
# parser raises ValueError on an answer that is not Redis's.
REDIS_FAULTS: Final = (redis.RedisError, RedisClusterException, OSError, ValueError)

_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
# What a connection to a Sentinel has in common with one to its Redis.
_SHARED_WITH_SENTINELS: Final = ("protocol", "retry", "socket_", "ssl")


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
        scheme = url.partition("://")[0]
        if scheme in {"redis+sentinel", "rediss+sentinel"}:
            return _sentinel_client(_Parts.of(url, _SENTINEL_PORT), ours)
        if scheme in {"redis+cluster", "rediss+cluster"}:
            return _cluster_client(_Parts.of(url, _REDIS_PORT), ours)
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


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A URL with several hosts, taken apart."""

    hosts: list[tuple[str, int]]
    path: list[str]
    options: dict[str, Any]

    @classmethod
    def of(cls, url: str, default_port: int) -> "_Parts":
        parts = re.fullmatch(r"(rediss?)\+\w+://([^/?#]*)([^?#]*)\??([^#]*)", url)
        if parts is None:
            raise ValueError("it is no URL")
        scheme, authority, path, query = parts.groups()
        login, at, hosts = authority.rpartition("@")
        # redis-py reads one host; for all but the hosts, its reading counts.
        one_host = f"{scheme}://{login}{at}host?{query}"
        options = dict(parse_url(one_host))  # type: ignore[no-untyped-call]
        del options["host"]
        # Asked for by name: both clients choose their own classes of connections.
        options.pop("connection_class", None)
        return cls(
            hosts=[_host_and_port(host, default_port) for host in hosts.split(",")],
            path=[unquote(name) for name in path.split("/") if name],
            options={**options, **({"ssl": True} if scheme == "rediss" else {})},
        )


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.netloc != text:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port


def _sentinel_client(parts: _Parts, ours: Mapping[str, Any]) -> redis.Redis:
    service, *database = parts.path
    options = {**ours, **parts.options}
    if database:
        (number,) = database
        options["db"] = int(number)
    sentinel_options = {
        name: value
        for name, value in options.items()
        if name.startswith(_SHARED_WITH_SENTINELS)
    }
    for name in ("username", "password", "ssl"):
        own = options.pop(f"sentinel_{name}", None)
        if own is not None:
            sentinel_options[name] = own
    if "ssl" in sentinel_options:
        sentinel_options["ssl"] = _is_true(sentinel_options["ssl"])
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        parts.hosts, sentinel_kwargs=sentinel_options
    )
    client: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        service, **options
    )
    _check_options(client.connection_pool)
    return client


def _cluster_client(parts: _Parts, ours: Mapping[str, Any]) -> ClusterClient:
    if parts.path not in ([], ["0"]):
        raise ValueError("a cluster has one database")
    options = {**ours, **parts.options}
    if options.pop("db", 0) != 0:
        raise ValueError("a cluster has one database")
    # A cluster's client drops options that it does not know.
    _check_options(redis.Redis(**options).connection_pool)
    return ClusterClient(parts.hosts, options)


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


def _is_true(value: Any) -> bool:
    return str(value).lower() in {"true", "yes", "1"}
