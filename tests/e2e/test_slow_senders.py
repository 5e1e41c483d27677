"""Who sends slowly, or reads slowly, costs nobody else an answer."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.backend_process import ServedBackend
from tests.e2e.processes import ARTIFACTS_DIR, LOOPBACK, answers, free_port, running
from tests.e2e.raw_http import connect, head, read_answer, slow_senders
from tests.e2e.sleeping_backend import predict, sleeping_backend

pytestmark = pytest.mark.e2e

_LABEL_STUDIO_WAITS_S: Final = 1.0
_BEGINNINGS: Final = {
    "silent": b"",
    "in-the-head": head()[:-2] + b"X-Slow: ",
    "in-the-body": head("/predict", "Content-Length: 5000") + b"{",
    "in-a-chunk": head("/webhook", "Transfer-Encoding: chunked") + b"5\r\n{",
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBackend]:
    folder = tmp_path_factory.mktemp("slow")
    with sleeping_backend(
        folder, "slow-senders", SLEEP_S="0", REQUEST_TIMEOUT_S="4"
    ) as it:
        yield it


@pytest.mark.parametrize("beginning", _BEGINNINGS.values(), ids=_BEGINNINGS)
def test_health_is_answered_beside_more_slow_senders_than_there_are_threads(
    beginning: bytes, backend: ServedBackend
) -> None:
    # There are 140 threads, and room for 396 connections.
    with slow_senders(backend.url, [beginning] * 450) as senders:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            # Raises where it comes too late.
            httpx.get(f"{backend.url}/health", timeout=_LABEL_STUDIO_WAITS_S)
            for sender in senders:
                with contextlib.suppress(OSError):
                    sender.send(beginning and b"x")
            time.sleep(0.2)

        assert all(predict(backend.url))


@pytest.mark.parametrize(
    "beginning",
    [pytest.param(it, id=name) for name, it in _BEGINNINGS.items() if it],
)
def test_a_request_that_does_not_arrive_in_time_is_told_so(
    beginning: bytes, backend: ServedBackend
) -> None:
    with connect(backend.url) as connection:
        connection.sendall(beginning)
        started = time.monotonic()

        answer = read_answer(connection)

        took_s = time.monotonic() - started
    assert answer.status == 408
    assert "did not arrive within 4 s" in answer.message
    assert "REQUEST_TIMEOUT_S" in answer.message
    assert 3 < took_s < 8


def test_a_request_may_take_its_time_within_the_limit(backend: ServedBackend) -> None:
    with connect(backend.url) as connection:
        for piece in (b"GET /he", b"alth HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
            connection.sendall(piece)
            time.sleep(0.3)

        assert read_answer(connection).status == 200


def test_a_connection_is_used_again_and_may_be_ahead(backend: ServedBackend) -> None:
    body = b'{"action": "x"}'
    length = f"Content-Length: {len(body)}"
    get = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

    with connect(backend.url) as connection:
        connection.sendall(head("/webhook", length) + body + get[:20])
        first = read_answer(connection)
        connection.sendall(get[20:])
        second = read_answer(connection)
        connection.sendall(get)
        third = read_answer(connection)

    assert [it.status for it in (first, second, third)] == [200, 200, 200]


def test_who_reads_slowly_holds_no_thread(tmp_path: Path) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"
    with (
        running(
            [
                *(sys.executable, "-m", "gunicorn", "tests.large_answers:app"),
                *("--worker-class", "backend.server.worker.PatientWorker"),
                *("--threads", "2", "--bind", url.removeprefix("http://")),
            ],
            environment={},
            log_path=ARTIFACTS_DIR / "slow-readers.log",
            is_ready=lambda: answers(f"{url}/health"),
            timeout_s=60,
        ),
        slow_senders(url, [b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"] * 2),
    ):
        time.sleep(3)

        assert answers(f"{url}/health")
