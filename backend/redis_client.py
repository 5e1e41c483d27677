"""A REDIS_URL in, a client of redis-py out.

Nothing is connected yet. Knows URLs and timeouts, and nothing of what is stored.
"""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.errors import SettingsError


def redis_client(
    url: str, *, connect_timeout_s: float, read_timeout_s: float
) -> redis.Redis:
    """Make a client that does not try anything twice by itself.

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it; options in
            its query (such as `?socket_timeout=5`) win over ours.
        connect_timeout_s: for a connection to be there.
        read_timeout_s: for an answer to be there.

    Raises:
        SettingsError: if the URL cannot be read; the message does not show it.
    """
    try:
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=connect_timeout_s,
            socket_timeout=read_timeout_s,
            protocol=2,
            # redis-py's own default is 3 tries with pauses. Pooled connections
            # that a restart killed are replaced without one.
            retry=Retry(NoBackoff(), 0),
        )
        # Unknown options would otherwise surface at the first command.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        # From None and without the cause's text: both may quote the password.
        raise SettingsError(
            "REDIS_URL cannot be read. Write it as redis://:password@host:6379/0 "
            "(rediss:// for TLS, unix:///path for a socket), with special "
            "characters of the password percent-encoded."
        ) from None
    return client


def describe_redis(client: redis.Redis) -> str:
    """Where the server is, for logs and `/health`; never shows a password."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"Redis at {options['path']}"
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return f"Redis at {host}:{port}/{options.get('db', 0)}"


def redis_secrets(client: redis.Redis) -> list[str]:
    """Texts that the server might echo in an error and no log may show."""
    return [str(client.connection_pool.connection_kwargs.get("password") or "")]
