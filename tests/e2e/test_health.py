"""Label Studio takes a backend for dead that is silent for a second."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.batches import picture
from tests.e2e.processes import ARTIFACTS_DIR, LOOPBACK, answers, free_port, running
from tests.fakes import RED_AND_BLUE

pytestmark = pytest.mark.e2e

_REQUESTS: Final = 24
_LABEL_STUDIO_WAITS_S: Final = 1.0


def test_health_is_answered_however_many_requests_wait_for_the_model(
    tmp_path: Path,
) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"
    environment = {
        "HOST": LOOPBACK,
        "PORT": url.rpartition(":")[2],
        "THREADS": "2",
        "CACHE_DIR": str(tmp_path),
        "SLEEP_S": "0.5",
    }
    with running(
        [sys.executable, "-m", "tests.sleeping_server"],
        environment=environment,
        log_path=ARTIFACTS_DIR / "backend-waiting.log",
        is_ready=lambda: answers(f"{url}/health"),
        timeout_s=60,
    ):
        with ThreadPoolExecutor(_REQUESTS) as pool:
            asked = [pool.submit(_predict, url, n) for n in range(_REQUESTS)]
            while not all(request.done() for request in asked):
                # Raises where it comes too late.
                httpx.get(f"{url}/health", timeout=_LABEL_STUDIO_WAITS_S)
                time.sleep(0.2)
        results = [request.result() for request in asked]

    assert all(answer for (answer,) in results)


def _predict(url: str, number: int) -> list[Any]:
    task = {"id": number, "data": {"image": picture(number)}}
    body = {"tasks": [task], "label_config": RED_AND_BLUE, "project": "1.1"}
    answer = httpx.post(f"{url}/predict", json=body, timeout=100).raise_for_status()
    results: list[Any] = answer.json()["results"]
    return results
