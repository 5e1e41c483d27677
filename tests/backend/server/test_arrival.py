"""When a request is whole, whichever way it is cut."""

import os

import pytest
from gunicorn.config import Config

from backend.server.arrival import Arrival

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "get": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "empty-lines-before": b"\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "no-length": HEAD + b"\r\n",
    "empty-body": HEAD + b"Content-Length: 0\r\n\r\n",
    "body": HEAD + b"Content-Length: 14\r\n\r\n{\r\n\r\n\r\n\r\n   }\r",
    "chunks": CHUNKED + b"3\r\n0\r\n\r\n00A;a=b\r\n0123456789\r\n0\r\n\r\n",
    "trailer": CHUNKED + b"1\r\n{\r\n0\r\nX-Sum: 1\r\n\r\n",
    "no-chunks": CHUNKED + b"0\r\n\r\n",
}
NO_HTTP = {
    "nonsense": b"\x16\x03\x01 nonsense\r\n\r\n",
    "two-lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length-of-words": HEAD + b"Content-Length: ten\r\n\r\n",
    "both": HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunk-of-words": CHUNKED + b"many\r\n",
    "chunk-without-size": CHUNKED + b"\r\n",
    "endless-chunk-line": CHUNKED + b"0" * 9000,
}


def arrival(max_body_bytes: int = 1000) -> Arrival:
    return Arrival(Config(), ("127.0.0.1", 1), max_body_bytes=max_body_bytes)


@pytest.mark.parametrize("request_bytes", WHOLE.values(), ids=WHOLE)
def test_a_request_is_whole_with_its_last_byte_and_not_before(
    request_bytes: bytes,
) -> None:
    for piece in (1, 2, 3, 7, len(request_bytes) - 1):
        it = arrival()
        ends = range(piece, len(request_bytes) + piece, piece)

        states = []
        for end in ends:
            it.feed(request_bytes[end - piece : end])
            states.append(it.is_complete)

        assert states == [False] * (len(states) - 1) + [True]
        assert it.has_head
        assert it.too_large_bytes is None


@pytest.mark.parametrize("request_bytes", NO_HTTP.values(), ids=NO_HTTP)
def test_nothing_more_is_waited_for_of_what_is_not_http(request_bytes: bytes) -> None:
    it = arrival()

    it.feed(request_bytes)

    assert it.is_complete


def test_what_follows_a_request_is_kept_with_it() -> None:
    it = arrival()

    it.feed(WHOLE["body"] + WHOLE["get"])

    assert it.is_complete
    request = next(it.parser)
    assert (request.method, request.path) == ("POST", "/predict")
    assert request.body.read() == b"{\r\n\r\n\r\n\r\n   }\r"
    assert it.parser.unreader.take_buffered() == WHOLE["get"]


def test_a_large_body_is_read_without_copying_what_is_left() -> None:
    body = os.urandom(3_000_001)
    it = arrival(len(body))
    it.feed(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + WHOLE["get"])

    request = next(it.parser)
    pieces, most_held = [], 0
    while piece := request.body.read(64 * 1024):
        pieces.append(piece)
        most_held = max(most_held, len(it.parser.unreader.buf.getvalue()))

    assert b"".join(pieces) == body
    assert most_held <= 128 * 1024
    assert it.parser.unreader.take_buffered() == WHOLE["get"]


@pytest.mark.parametrize(
    ("request_bytes", "n_bytes"),
    [
        pytest.param(HEAD + b"Content-Length: 1001\r\n\r\n", 1001, id="length"),
        pytest.param(CHUNKED + b"3E9\r\n", 1001, id="one-chunk"),
        pytest.param(
            CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n", 1001, id="chunks"
        ),
    ],
)
def test_a_body_that_is_too_large_is_known_before_it_is_here(
    request_bytes: bytes, n_bytes: int
) -> None:
    it = arrival(1000)

    it.feed(request_bytes)

    assert it.is_complete
    assert it.too_large_bytes == n_bytes


def test_a_body_of_the_limit_is_waited_for() -> None:
    it = arrival(1000)

    it.feed(HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")

    assert not it.is_complete
    assert it.awaits_go_ahead


def test_a_body_that_is_too_large_gets_no_go_ahead() -> None:
    it = arrival(1000)

    it.feed(HEAD + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")

    assert not it.awaits_go_ahead
