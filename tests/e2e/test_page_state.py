"""The state of a real backend, and its doctor, on the page."""

import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Playwright, expect

from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.page import opened_page
from tests.e2e.processes import ARTIFACTS_DIR
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_DOCTOR_TIMEOUT_MS = 120_000
_LOADING_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[ServedBackend]:
    with running_backend(
        cache_dir=tmp_path_factory.mktemp("page-cache"),
        log_path=ARTIFACTS_DIR / "backend-page-state.log",
        redis_url=redis_server.url,
    ) as process:
        yield process


def _wait_for_model(served: ServedBackend) -> None:
    deadline = time.monotonic() + _LOADING_TIMEOUT_S
    while httpx.get(f"{served.url}/health").json()["model"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_state_tells_what_runs_and_the_doctor_answers_to_the_keyboard(
    playwright: Playwright, served: ServedBackend
) -> None:
    with opened_page(playwright, f"{served.url}/page/state") as opened:
        page = opened.page
        main = page.get_by_role("main")
        for said in ("pocket", "Apache-2.0", "Jobs that wait", "None since the start"):
            expect(main).to_contain_text(said)

        _wait_for_model(served)
        opened.tab_to("#examined")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(
            "ask for something", timeout=_DOCTOR_TIMEOUT_MS
        )

        expect(page.locator("#findings")).to_contain_text("LABEL_STUDIO_URL")
        expect(page.locator("#findings")).to_contain_text("is asked instead of")
        page.get_by_role("link", name="Playground").click()
        expect(page.get_by_role("heading", name="Playground")).to_be_visible()
        page.get_by_role("link", name="State").click()
        expect(main).to_contain_text("on cpu")
