"""A server that is asked to stop while it works."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.backend_process import ServedBackend
from tests.e2e.sleeping_backend import predict, sleeping_backend

pytestmark = pytest.mark.e2e


def stop(backend: ServedBackend, with_signal: signal.Signals) -> float:
    """Seconds until the server has ended."""
    started = time.monotonic()
    backend.process.send_signal(with_signal)
    backend.process.wait(60)
    return time.monotonic() - started


def test_work_behind_the_requests_ends_with_the_image_at_hand(tmp_path: Path) -> None:
    with sleeping_backend(
        tmp_path, "stopping-backlog", SLEEP_S="2", PREDICT_BUDGET_S="1"
    ) as backend:
        predict(backend.url, n_tasks=30)
        time.sleep(1)

        took_s = stop(backend, signal.SIGTERM)

        assert backend.process.returncode == 0
    assert took_s < 8
    assert "of 30 tasks are precomputed" in backend.log
    for trouble in ("failed", "Traceback", "SIGABRT", "SIGKILL", "exception"):
        assert trouble not in backend.log


def test_a_request_is_answered_that_came_before_the_stop(tmp_path: Path) -> None:
    with (
        sleeping_backend(tmp_path, "stopping-request", SLEEP_S="14") as backend,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(predict, backend.url)
        time.sleep(2)

        took_s = stop(backend, signal.SIGTERM)

        assert all(asked.result())
    # It took longer than a stop was allowed to.
    assert 10 < took_s < 30


def test_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    with (
        sleeping_backend(tmp_path, "stopping-at-once", SLEEP_S="20") as backend,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(predict, backend.url)
        time.sleep(2)

        took_s = stop(backend, signal.SIGINT)

        assert asked.exception() is not None
    assert took_s < 6
