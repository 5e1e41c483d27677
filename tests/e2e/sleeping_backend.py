"""The real server process, whose model sleeps instead of computing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.backend_process import ServedBackend
from tests.e2e.processes import ARTIFACTS_DIR, LOOPBACK, answers, free_port, running
from tests.fakes import RED_AND_BLUE, picture

_START_TIMEOUT_S: Final = 60


@contextmanager
def sleeping_backend(
    cache_dir: Path, name: str, **environment: str
) -> Iterator[ServedBackend]:
    """Run `tests.sleeping_server` while the block lasts.

    Args:
        cache_dir: of the embedded cache.
        name: of the log.
        environment: settings, SLEEP_S and LOAD_S.
    """
    port = str(free_port())
    url = f"http://{LOOPBACK}:{port}"
    log_path = ARTIFACTS_DIR / f"{name}.log"
    settings = {"HOST": LOOPBACK, "PORT": port, "CACHE_DIR": str(cache_dir)}
    with running(
        [sys.executable, "-m", "tests.sleeping_server"],
        environment={**settings, **environment},
        log_path=log_path,
        is_ready=lambda: answers(f"{url}/health"),
        timeout_s=_START_TIMEOUT_S,
    ) as process:
        yield ServedBackend(url=url, log_path=log_path, process=process)


def predict_body(n_tasks: int = 1, first: int = 1) -> dict[str, Any]:
    """A request for pictures that differ, so that each needs the model."""
    numbers = range(first, first + n_tasks)
    return {
        "tasks": [
            {
                "id": number,
                "data": {"image": picture("red", "blue", size_yx=(4, 6 + number))},
            }
            for number in numbers
        ],
        "label_config": RED_AND_BLUE,
        "project": "1.1",
    }


def predict(url: str, n_tasks: int = 1, first: int = 1) -> list[Any]:
    """Ask for predictions as Label Studio does."""
    answer = httpx.post(
        f"{url}/predict", json=predict_body(n_tasks, first), timeout=100
    )
    results: list[Any] = answer.raise_for_status().json()["results"]
    return results
