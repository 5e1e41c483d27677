"""A request that is there already, read through gunicorn's own readers."""

import os
import socket
from collections.abc import Iterator

import pytest
from gunicorn.http.body import Body, LengthReader

from backend.server.worker import Gathered

_READ_BYTES = 64 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[Gathered, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Gathered(ours), theirs


def test_a_large_body_is_read_without_copying_what_is_left(
    pair: tuple[Gathered, socket.socket],
) -> None:
    reader, _ = pair
    sent = os.urandom(3_000_001)
    reader.gather(sent + b"GET / HTTP/1.1")

    body = Body(LengthReader(reader, len(sent)))
    pieces, most_held = [], 0
    while piece := body.read(_READ_BYTES):
        pieces.append(piece)
        most_held = max(most_held, len(reader.buf.getvalue()))

    assert b"".join(pieces) == sent
    assert most_held <= 2 * _READ_BYTES
    assert reader.n_bytes == 14
    assert reader.take_buffered() == b"GET / HTTP/1.1"
    assert reader.n_bytes == 0


def test_what_is_not_there_yet_comes_from_the_connection(
    pair: tuple[Gathered, socket.socket],
) -> None:
    reader, theirs = pair
    reader.gather(b"first ")
    theirs.sendall(b"second")

    assert reader.read(12) == b"first second"


def test_what_is_handed_back_comes_first(pair: tuple[Gathered, socket.socket]) -> None:
    reader, _ = pair
    reader.gather(b"head and body")

    head = reader.read(5)
    reader.unread(head)

    assert reader.read(13) == b"head and body"
