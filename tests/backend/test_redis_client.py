"""URLs of every kind, and what is made of them without a server."""

import pytest
import redis

from backend.errors import SettingsError
from backend.redis_client import (
    REDIS_FAULTS,
    ClusterClient,
    describe_redis,
    is_cluster,
    redis_client,
    redis_secrets,
)
from tests.redis_server import free_port


def client_of(url: str):
    return redis_client(url, connect_timeout_s=0.25, read_timeout_s=0.5)


@pytest.mark.parametrize(
    ("url", "description"),
    [
        pytest.param("redis://localhost", "Redis at localhost:6379/0", id="plain"),
        pytest.param("rediss://u:pw@far:1/2", "Redis at far:1/2", id="tls"),
        pytest.param("unix:///run/redis.sock", "Redis at /run/redis.sock", id="unix"),
        pytest.param(
            "redis+sentinel://u:pw@a,b:1/main/3?sentinel_password=pw",
            "Redis main/3 of Sentinels at a:26379, b:1",
            id="sentinel",
        ),
        pytest.param(
            "rediss+sentinel://[::1]:1,[::2]/main",
            "Redis main/0 of Sentinels at ::1:1, ::2:26379",
            id="sentinel-ipv6",
        ),
        pytest.param(
            "redis+cluster://u:pw@a:1,b", "Redis Cluster at a:1, b:6379", id="cluster"
        ),
        pytest.param("rediss+cluster://a/0", "Redis Cluster at a:6379", id="tls-nodes"),
    ],
)
def test_description_names_the_hosts_and_no_password(
    url: str, description: str
) -> None:
    assert describe_redis(client_of(url)) == description


def test_only_a_cluster_is_a_cluster() -> None:
    urls = ["redis://a", "redis+sentinel://a/main", "redis+cluster://a"]

    assert [is_cluster(client_of(url)) for url in urls] == [False, False, True]


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        pytest.param("redis://localhost", [], id="none"),
        pytest.param("redis://ann:p%40ss%2F@localhost", ["p@ss/"], id="plain"),
        pytest.param("redis://localhost?password=p%40ss", ["p@ss"], id="option"),
        pytest.param(
            "redis+sentinel://ann:p%40ss@a,b/main?sentinel_password=0ther%25"
            "&sentinel_username=bob",
            ["0ther%", "p@ss"],
            id="sentinel",
        ),
        pytest.param("redis+cluster://ann:p%40ss@a,b", ["p@ss"], id="cluster"),
    ],
)
def test_secrets_are_the_decoded_passwords_and_no_user(
    url: str, secrets: list[str]
) -> None:
    assert redis_secrets(client_of(url)) == secrets


def test_sentinels_share_timeouts_and_tls_with_their_redis_but_no_login() -> None:
    client = client_of(
        "rediss+sentinel://ann:pw@a/main/2?ssl_ca_certs=/ca.pem&socket_timeout=7"
    )

    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    theirs, ours = (one.connection_pool.connection_kwargs for one in (sentinel, client))
    for options in (theirs, ours):
        assert options["ssl_ca_certs"] == "/ca.pem"
        assert options["socket_timeout"] == 7
        assert options["socket_connect_timeout"] == 0.25
        assert options["retry"]._retries == 0
    assert (ours["username"], ours["password"], ours["db"]) == ("ann", "pw", 2)
    assert not theirs.get("username")
    assert not theirs.get("password")
    assert issubclass(sentinel.connection_pool.connection_class, redis.SSLConnection)
    assert issubclass(client.connection_pool.connection_class, redis.SSLConnection)


def test_sentinels_have_a_login_and_plain_connections_if_told() -> None:
    client = client_of(
        "rediss+sentinel://:pw@a/main?sentinel_username=bob&sentinel_password=b%2Bb"
        "&sentinel_ssl=no"
    )

    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    options = sentinel.connection_pool.connection_kwargs
    assert (options["username"], options["password"]) == ("bob", "b+b")
    assert sentinel.connection_pool.connection_class is redis.Connection


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("redis+sentinel://:hunter2@a", id="no-service"),
        pytest.param("redis+sentinel://:hunter2@/main", id="no-sentinel"),
        pytest.param("redis+sentinel://:hunter2@a,/main", id="a-host-missing"),
        pytest.param("redis+sentinel://:hunter2@a/main/x", id="database"),
        pytest.param("redis+sentinel://:hunter2@a/main/0/1", id="path"),
        pytest.param("redis+sentinel://:hunter2@a:x/main", id="port"),
        pytest.param("redis+sentinel://:hunter2@a/main?colour=red", id="option"),
        pytest.param("redis+sentinel://:hunter2@a/main?sentinel_db=1", id="their-own"),
        pytest.param("redis+sentinel://:hunter2@a/main?ssl_ca_certs=x", id="no-tls"),
        pytest.param("redis+cluster://:hunter2@a/1", id="cluster-database"),
        pytest.param("redis+cluster://:hunter2@a?db=1", id="cluster-database-option"),
        pytest.param("redis+cluster://:hunter2@a?colour=red", id="cluster-option"),
        pytest.param("redis+cluster://:hunter2@a?protocol=9", id="cluster-protocol"),
        pytest.param("redis+socket://:hunter2@a", id="scheme"),
        pytest.param("unix+cluster://:hunter2@a", id="scheme-of-sockets"),
    ],
)
def test_unreadable_url_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL cannot be read") as refusal:
        client_of(url)

    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__


def test_cluster_that_is_away_is_looked_for_with_each_command_anew() -> None:
    client = client_of(f"redis+cluster://127.0.0.1:{free_port()}")
    assert isinstance(client, ClusterClient)

    for _ in range(2):
        with pytest.raises(REDIS_FAULTS):
            client.get("key")
    client.close()
