"""A model that takes long to load."""

import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.batches import wait_until
from tests.e2e.processes import ARTIFACTS_DIR, LOOPBACK, answers, free_port, running
from tests.e2e.sleeping_backend import predict, sleeping_backend

pytestmark = pytest.mark.e2e

# As an operator and as the container start it.
_COMMANDS = {
    "serve": ["backend.cli", "serve"],
    "container": ["gunicorn", "--config", "docker/gunicorn.conf.py"],
}


def test_a_request_waits_for_a_loading_model_no_longer_than_its_budget(
    tmp_path: Path,
) -> None:
    with sleeping_backend(
        tmp_path, "loading", LOAD_S="12", SLEEP_S="0", PREDICT_BUDGET_S="1"
    ) as backend:
        started = time.monotonic()
        early = predict(backend.url, n_tasks=2)
        took_s = time.monotonic() - started
        # Nobody asks for them again: they are computed behind the request.
        wait_until(lambda: backend.metric("diffsegmenter_images_segmented_total") >= 2)

        late = predict(backend.url, n_tasks=2)

    assert early == [[], []]
    assert took_s < 6
    assert all(late)


@pytest.mark.parametrize("command", _COMMANDS.values(), ids=_COMMANDS)
def test_the_model_is_loaded_before_anybody_asks_for_it(
    command: list[str], tmp_path: Path
) -> None:
    port = str(free_port())
    url = f"http://{LOOPBACK}:{port}"

    def is_loaded() -> bool:
        return bool(httpx.get(f"{url}/health", timeout=10).json()["model"] == "ready")

    with running(
        [sys.executable, "-m", *command],
        environment={"HOST": LOOPBACK, "PORT": port, "CACHE_DIR": str(tmp_path)},
        log_path=ARTIFACTS_DIR / "backend-preloading.log",
        is_ready=lambda: answers(f"{url}/health"),
        timeout_s=60,
    ):
        wait_until(is_loaded, timeout_s=100)
