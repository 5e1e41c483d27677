"""Several Redis servers that belong together: under a Sentinel, or in a cluster."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.redis_server import RedisServer, TlsFiles, free_port

SERVICE = "cache-master"
PATIENCE_S = 30.0
_SLOTS = 16384


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A master, its replica, and the Sentinel that promotes it.

    Attributes:
        hosts: of Sentinels, for a URL; the first is none that answers.
    """

    master: RedisServer
    replica: RedisServer
    hosts: str

    def wait_for_promotion(self) -> None:
        """Wait until the replica is the master."""
        with self.replica.client() as client:
            _wait_until(lambda: client.role()[0] == b"master", "no promotion")


class _Sentinel(RedisServer):
    """`redis-server --sentinel`; all that it is told is in a file, which it edits."""

    def _arguments(self) -> list[str]:
        return [str(self.folder / "sentinel.conf"), "--sentinel"]


@contextlib.contextmanager
def running_sentinel(
    *,
    password: str | None = None,
    sentinel_password: str | None = None,
    tls: TlsFiles | None = None,
) -> Iterator[Watched]:
    """Two servers and a Sentinel, which fails over within seconds."""
    auth = ["--masterauth", password] if password else []
    with tempfile.TemporaryDirectory(prefix="sentinel-test-") as name, _stopped() as up:
        folder = Path(name)
        master = up(RedisServer(_new(folder / "a"), password=password, tls=tls))
        replica = RedisServer(
            _new(folder / "b"),
            password=password,
            tls=tls,
            extra_args=["--replicaof", "127.0.0.1", str(master.port), *auth],
        )
        up(replica)
        sentinel = _Sentinel(_new(folder / "c"), password=sentinel_password, tls=tls)
        port = f"port {sentinel.port}"
        lines = [
            *("bind 127.0.0.1", f"dir {sentinel.folder}", "logfile redis.log"),
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        if password:
            lines.append(f'sentinel auth-pass {SERVICE} "{password}"')
        if sentinel_password:
            lines.append(f'requirepass "{sentinel_password}"')
        if tls:
            words = iter(tls.arguments())
            lines += [f"{key.removeprefix('--')} {next(words)}" for key in words]
            port = f"port 0\ntls-port {sentinel.port}"
        (sentinel.folder / "sentinel.conf").write_text("\n".join([port, *lines]) + "\n")
        up(sentinel)
        with sentinel.client() as client:
            _wait_until(
                lambda: len(client.sentinel_slaves(SERVICE)) == 1, "no replica is known"
            )
        yield Watched(
            master=master,
            replica=replica,
            hosts=f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}",
        )


@contextlib.contextmanager
def running_cluster(*, password: str | None = None) -> Iterator[list[RedisServer]]:
    """Three masters with a third of the slots each."""
    with tempfile.TemporaryDirectory(prefix="cluster-test-") as name, _stopped() as up:
        bus_ports = [free_port() for _ in range(3)]
        servers = [
            up(
                RedisServer(
                    _new(Path(name) / str(bus_port)),
                    password=password,
                    extra_args=[
                        *("--cluster-enabled", "yes"),
                        *("--cluster-port", str(bus_port)),
                        *("--cluster-node-timeout", "2000"),
                        *("--cluster-require-full-coverage", "no"),
                    ],
                )
            )
            for bus_port in bus_ports
        ]
        for number, server in enumerate(servers):
            first, end = (_SLOTS * n // 3 for n in (number, number + 1))
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command(
                    *("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus_ports[0])
                )
        for server in servers:
            with server.client() as client:
                _wait_until(lambda: _is_whole(client), "no cluster")
        yield servers


def _is_whole(client: redis.Redis) -> bool:
    slots = client.execute_command("CLUSTER", "SLOTS")
    n_slots = sum(end - first + 1 for first, end, *_ in slots)
    state = client.execute_command("CLUSTER", "INFO")
    return n_slots == _SLOTS and b"cluster_state:ok" in state


@contextlib.contextmanager
def _stopped():
    """A function that starts servers, all of which are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def start(server: RedisServer) -> RedisServer:
            stack.callback(server.stop)
            server.start()
            return server

        yield start


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _wait_until(condition, complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)
