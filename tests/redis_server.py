"""A real Redis for a test: own port, own empty folder, gone afterwards."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis

START_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """A certificate of 127.0.0.1, signed by itself, and its key."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "TlsFiles":
        """Have openssl make both in `folder`."""
        files = cls(certificate=folder / "redis.crt", key=folder / "redis.key")
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=redis"
        subprocess.run(
            [
                *command.split(),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(files.key), "-out", str(files.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        return files

    def arguments(self) -> list[str]:
        """What `redis-server` needs to be told; clients have no certificates."""
        return [
            *("--tls-cert-file", str(self.certificate)),
            *("--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.certificate)),
            *("--tls-auth-clients", "no", "--tls-replication", "yes"),
        ]


class RedisServer:
    """One `redis-server` process on loopback, without persistence."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        extra_args: Sequence[str] = (),
        tls: TlsFiles | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._password = password
        self._extra_args = list(extra_args)
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        login = f":{quote(self._password, safe='')}@" if self._password else ""
        if self._tls is not None:
            options = f"ssl_ca_certs={quote(str(self._tls.certificate))}"
            return f"rediss://{login}127.0.0.1:{self.port}/0?{options}"
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "redis-server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(
                "redis-server is not on PATH, and these tests use a real Redis. "
                "Install it (Debian: apt-get install redis-server)."
            )
        self._process = subprocess.Popen(
            [program, *self._arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_for_pong()

    def _arguments(self) -> list[str]:
        arguments = ["--bind", "127.0.0.1", "--dir", str(self.folder)]
        arguments += ["--save", "", "--appendonly", "no"]
        arguments += ["--daemonize", "no", "--logfile", "redis.log"]
        if self._password:
            arguments += ["--requirepass", self._password]
        if self._tls is None:
            arguments += ["--port", str(self.port)]
        else:
            arguments += ["--port", "0", "--tls-port", str(self.port)]
            arguments += self._tls.arguments()
        return arguments + self._extra_args

    def stop(self) -> None:
        """Kill it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it and start an empty one on the same port."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A plain client of the test's own, closed afterwards."""
        client = redis.Redis.from_url(self.url, protocol=2)
        try:
            yield client
        finally:
            client.close()

    def _wait_for_pong(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with self.client() as client, contextlib.suppress(redis.ConnectionError):
                client.ping()
                return
            time.sleep(0.02)
        self.stop()
        log = self.folder / "redis.log"
        text = log.read_text(errors="replace") if log.exists() else "(no log)"
        raise RuntimeError(f"redis-server did not answer on {self.port}:\n{text}")


@contextlib.contextmanager
def running_redis(
    *,
    password: str | None = None,
    extra_args: Sequence[str] = (),
    tls: TlsFiles | None = None,
) -> Iterator[RedisServer]:
    """A Redis that answers, killed by its pid on the way out.

    Args:
        password: what clients must send, already part of `.url`.
        extra_args: more `redis-server` arguments, e.g. `["--maxmemory", "1mb"]`.
        tls: for a server that speaks nothing else.
    """
    with tempfile.TemporaryDirectory(prefix="redis-test-") as folder:
        server = RedisServer(
            Path(folder), password=password, extra_args=extra_args, tls=tls
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
