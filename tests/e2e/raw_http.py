"""HTTP as no client of good manners sends it."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

_PATIENCE_S: Final = 20.0


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    @property
    def message(self) -> str:
        """Of an error."""
        return str(json.loads(self.body)["error"]["message"])


def connect(url: str) -> socket.socket:
    """A connection to the server of an address."""
    place = urlsplit(url)
    assert place.hostname is not None
    return socket.create_connection((place.hostname, place.port or 80), _PATIENCE_S)


def head(path: str = "/predict", *lines: str) -> bytes:
    """The head of a POST, with its empty line."""
    first = [f"POST {path} HTTP/1.1", "Host: backend", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def read_answer(connection: socket.socket) -> Answer:
    """One answer with a Content-Length; the connection can be read on."""
    with connection.makefile("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> Answer:
    status = int(file.readline().split()[1])
    length = 0
    while (line := file.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return _read(file) if status == 100 else Answer(status, file.read(length))


def ask(url: str, *pieces: bytes) -> Answer:
    """Send pieces, one after the other, and read what comes back."""
    with connect(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_answer(connection)


@contextmanager
def slow_senders(url: str, beginnings: Sequence[bytes]) -> Iterator[list[Any]]:
    """Connections that begin a request each, and go no further."""
    with ExitStack() as stack:
        connections = []
        for beginning in beginnings:
            connection = stack.enter_context(connect(url))
            connection.sendall(beginning)
            connections.append(connection)
        yield connections
