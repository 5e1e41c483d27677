"""Requests that are too large, or no requests at all, on the wire."""

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import ServedBackend
from tests.e2e.processes import answers
from tests.e2e.raw_http import (
    Answer,
    ask,
    connect,
    head,
    read_answer,
    slow_senders,
)
from tests.e2e.sleeping_backend import predict, predict_body, sleeping_backend

pytestmark = pytest.mark.e2e

_LIMIT: Final = 200_000
_CHUNKED: Final = "Transfer-Encoding: chunked"
_SECRET: Final = "wh-3f9c1d7e5b2a4860"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBackend]:
    with sleeping_backend(
        tmp_path_factory.mktemp("limits"),
        "request-limits",
        SLEEP_S="0",
        REQUEST_MAX_BYTES=str(_LIMIT),
        WEBHOOK_SECRET=_SECRET,
    ) as it:
        yield it


@pytest.fixture
def new_lines(backend: ServedBackend) -> Iterator[list[str]]:
    """What the server logs from here on; filled when the test is over."""
    before = len(backend.log)
    lines: list[str] = []
    yield lines
    time.sleep(0.3)
    lines += backend.log[before:].splitlines()
    assert "Traceback" not in backend.log[before:]
    assert len(lines) <= 2


def resident_bytes(backend: ServedBackend) -> int:
    """Of the worker that serves."""
    (child,) = (
        Path(f"/proc/{backend.process.pid}/task/{backend.process.pid}/children")
        .read_text()
        .split()
    )
    pages = Path(f"/proc/{child}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/predict", 413),
        ("/setup", 413),
        (f"/{_SECRET}/webhook", 413),
        # Nobody reads what is sent to a path that is none.
        ("/x", 404),
    ],
)
@pytest.mark.parametrize(
    "line_and_body",
    [
        pytest.param(("Content-Length: 10000000000", b"{"), id="length"),
        pytest.param((_CHUNKED, b"ffffffff\r\n{"), id="chunk"),
        pytest.param(
            (_CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n30d40\r\n"), id="chunks"
        ),
    ],
)
def test_a_body_that_is_too_large_is_refused_before_it_is_here(
    path: str,
    status: int,
    line_and_body: tuple[str, bytes],
    backend: ServedBackend,
    new_lines: list[str],
) -> None:
    line, body = line_and_body
    started = time.monotonic()

    answer = ask(backend.url, head(path, line) + body)

    assert time.monotonic() - started < 5
    assert answer.status == status
    if status == 413:
        assert "bytes; the limit is 200,000." in answer.message
        assert "REQUEST_MAX_BYTES" in answer.message


def test_megabytes_that_are_sent_all_the_same_are_not_kept(
    backend: ServedBackend,
) -> None:
    predict(backend.url)
    before = resident_bytes(backend)

    with connect(backend.url) as connection:
        connection.sendall(head("/predict", "Content-Length: 300000000"))
        with contextlib.suppress(OSError):  # the server hangs up in the end
            for _ in range(300):
                connection.sendall(b" " * 1_000_000)

    assert resident_bytes(backend) - before < 20_000_000
    assert all(predict(backend.url))


def test_many_large_bodies_at_once_make_room_for_each_other(
    backend: ServedBackend,
) -> None:
    begun = head("/predict", "Content-Length: 190000") + b" " * 180_000

    with slow_senders(backend.url, [begun] * 8) as senders:
        time.sleep(1)

        assert all(predict(backend.url))
        for sender in senders:
            sender.settimeout(0.2)
        statuses = [first_line(sender) for sender in senders]

    # Four of them are what all may hold.
    assert statuses.count(b"") >= 3
    assert statuses.count(b"HTTP/1.1 503 Service Unavailable") >= 4


def first_line(connection: socket.socket) -> bytes:
    """Of what came; nothing where nothing did."""
    try:
        return connection.recv(4096).partition(b"\r\n")[0]
    except TimeoutError:
        return b""


def test_large_requests_that_are_being_answered_hold_nobody_up(tmp_path: Path) -> None:
    bodies = [{**predict_body(first=n), "filling": "x" * 180_000} for n in range(8)]
    with (
        sleeping_backend(
            tmp_path, "large-and-slow", SLEEP_S="1", REQUEST_MAX_BYTES=str(_LIMIT)
        ) as backend,
        ThreadPoolExecutor(8) as pool,
    ):
        asked = []
        for body in bodies:
            asked.append(pool.submit(backend.post, "/predict", body))
            time.sleep(0.3)

        assert sum(not it.done() for it in asked) >= 5
        assert answers(f"{backend.url}/health")
        assert all(it.result()["results"] for it in asked)


@pytest.mark.parametrize("chunk", [b"many\r\n", b"5\r\n{}   {}", b"\r\n"])
def test_a_bad_chunk_is_the_sender_s_fault(
    chunk: bytes, backend: ServedBackend, new_lines: list[str]
) -> None:
    answer = ask(backend.url, head("/predict", _CHUNKED) + chunk + b"\r\n\r\n")

    assert answer.status == 400
    assert "did not arrive whole" in answer.message


@pytest.mark.parametrize("line", ["Content-Length: 5000", _CHUNKED])
def test_a_connection_that_is_reset_leaves_no_trace(
    line: str, backend: ServedBackend, new_lines: list[str]
) -> None:
    with connect(backend.url) as connection:
        connection.sendall(head("/predict", line) + b"5\r\n{")
        time.sleep(0.2)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )

    assert all(predict(backend.url))


def test_chunks_and_expectations_are_answered_as_ever(backend: ServedBackend) -> None:
    body = json.dumps(predict_body()).encode()
    half = len(body) // 2
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:half], body[half:])
    )

    chunked = ask(backend.url, head("/predict", _CHUNKED), chunks, b"0\r\n\r\n")
    with connect(backend.url) as connection:
        connection.sendall(
            head("/predict", f"Content-Length: {len(body)}", "Expect: 100-continue")
        )
        go_ahead = connection.recv(100)
        connection.sendall(body)
        expected = read_answer(connection)

    assert go_ahead == b"HTTP/1.1 100 Continue\r\n\r\n"
    for answer in (chunked, expected):
        assert answer.status == 200
        assert all(json.loads(answer.body)["results"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/webhook", 403, id="without"),
        pytest.param("/webhook?secret=wrong", 403, id="wrong"),
        pytest.param(f"/{_SECRET[:-1]}1/webhook", 404, id="wrong-path"),
        pytest.param(f"/webhook?secret={_SECRET}", 200, id="query"),
        pytest.param(f"/{_SECRET}/webhook", 200, id="path"),
        pytest.param(f"/{_SECRET}/setup", 200, id="setup-below-it"),
        pytest.param("/setup", 200, id="setup"),
    ],
)
def test_webhooks_need_the_secret(
    path: str, status: int, backend: ServedBackend
) -> None:
    answer = ask(backend.url, head(path, "Content-Length: 2") + b"{}")

    assert answer.status == status
    assert _SECRET not in backend.log


def test_headers_without_end_are_refused(backend: ServedBackend) -> None:
    answer = ask(backend.url, head()[:-2] + b"X-Long: " + b"x" * 70_000)

    assert answer == Answer(431, answer.body)
