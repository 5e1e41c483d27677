"""Ways in which a real Redis fails, and how it is brought back.

What is broken stays broken until `mend`: a test says what happens meanwhile.
"""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import redis

from tests.redis_server import RedisServer

Act = Callable[[RedisServer], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail.

    Attributes:
        name: of the case.
        bring: what happens to a server that was well.
        mend: how it becomes well again.
        can_be_read: whether it still answers lookups.
        extra_args: of `redis-server`.
    """

    name: str
    bring: Act
    mend: Act
    can_be_read: bool = False
    extra_args: Sequence[str] = ()


def _command(*words: str) -> Act:
    def send(server: RedisServer) -> None:
        with server.client() as client:
            client.execute_command(*words)

    return send


def _signal(number: signal.Signals) -> Act:
    return lambda server: os.kill(server.pid, number)


def _fill(server: RedisServer) -> None:
    # Filled first and limited then: at the very limit, what the buffers of a
    # connection take decides about the next command.
    with server.client() as client:
        for number in range(200):
            client.set(f"filling {number}", b"x" * 10_000)
        client.config_set("maxmemory", "1mb")


def _make_room(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "100mb")


def _change_password(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("requirepass", "changed")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _take_password_back(server: RedisServer) -> None:
    with redis.Redis(port=server.port, password="changed", protocol=2) as client:
        client.config_set("requirepass", "")


FAULTS: Final = (
    Fault(name="dead", bring=RedisServer.stop, mend=RedisServer.start),
    Fault(name="hanging", bring=_signal(signal.SIGSTOP), mend=_signal(signal.SIGCONT)),
    Fault(
        name="full",
        bring=_fill,
        mend=_make_room,
        can_be_read=True,
        extra_args=["--maxmemory-policy", "noeviction"],
    ),
    Fault(
        name="read-only",
        bring=_command("REPLICAOF", "127.0.0.1", "1"),
        mend=_command("REPLICAOF", "NO", "ONE"),
        can_be_read=True,
    ),
    Fault(name="password changed", bring=_change_password, mend=_take_password_back),
)
