"""Who gets to the page, by which ways, and whether everybody can use it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import HttpCredentials, Playwright, expect

from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.browser import FLAGS
from tests.e2e.examples import CATS_AND_DOGS, Picture, render_picture
from tests.e2e.page import NARROW, WIDE, opened_page
from tests.e2e.processes import ARTIFACTS_DIR, LOOPBACK, free_port, require_program
from tests.e2e.reverse_proxy import running_nginx
from tests.web_server import running_web_server

pytestmark = pytest.mark.e2e

_LABELS = "cat\ndog\ntree"
_USER, _PASSWORD, _SECRET = "ls", "a word", "a-secret_0123456789"
_BROWSER = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBackend]:
    with running_backend(
        cache_dir=tmp_path_factory.mktemp("page-cache"),
        log_path=ARTIFACTS_DIR / "backend-page-access.log",
    ) as process:
        yield process


@pytest.fixture(scope="module")
def picture() -> Picture:
    return render_picture(CATS_AND_DOGS[1], "cat", "dog")


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [
        pytest.param(WIDE, "light", id="light"),
        pytest.param(WIDE, "dark", id="dark"),
        pytest.param(NARROW, "light", id="narrow"),
    ],
)
def test_nothing_keeps_anybody_from_using_the_page(
    playwright: Playwright,
    served: ServedBackend,
    picture: Picture,
    viewport: Any,
    scheme: Any,
) -> None:
    with opened_page(
        playwright,
        f"{served.url}/",
        viewport=viewport,
        scheme=scheme,
        looks_for_barriers=True,
    ) as playground:
        page = playground.page
        assert playground.barriers() == []
        playground.choose(picture, _LABELS)
        for summary in page.locator("summary").all():
            summary.click()
        playground.label("cat").click()
        assert playground.barriers() == []
        # Leaves a failure behind, for the state to show.
        page.get_by_label("Address").fill("nowhere")
        page.get_by_label("Address").press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        assert playground.barriers() == []
        for name in ("Project", "State"):
            page.get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", name=name)).to_be_visible()
            assert playground.barriers() == []
        page.goto(f"{served.url}/page/project?project=1")
        assert playground.barriers() == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"]


def test_page_works_below_a_path_of_nginx(
    playwright: Playwright, served: ServedBackend, picture: Picture, tmp_path: Path
) -> None:
    listen = f"{LOOPBACK}:{free_port()}"
    with (
        running_nginx(
            folder=tmp_path / "nginx",
            log_path=ARTIFACTS_DIR / "page-nginx.log",
            listen=listen,
            prefix="/tools/seg",
            upstream=served.url.removeprefix("http://"),
        ),
        opened_page(playwright, f"http://{listen}/tools/seg/") as playground,
    ):
        playground.choose(picture, _LABELS)
        assert set(playground.masks()) == {"cat", "dog"}
        for name in ("Project", "State", "Playground"):
            playground.page.get_by_role("link", name=name).click()
            expect(playground.page.get_by_role("heading", name=name)).to_be_visible()
        asked = [one for one in playground.asked if not one.startswith("data:")]

    assert asked
    assert all(one.startswith(f"http://{listen}/tools/seg/") for one in asked)


def test_page_asks_for_the_password_and_works_below_the_secret(
    playwright: Playwright, picture: Picture, tmp_path: Path
) -> None:
    with running_backend(
        cache_dir=tmp_path,
        log_path=ARTIFACTS_DIR / "backend-page-password.log",
        environment={
            "BASIC_AUTH_USER": _USER,
            "BASIC_AUTH_PASS": _PASSWORD,
            "WEBHOOK_SECRET": _SECRET,
        },
    ) as backend:
        for path in ("/", "/page/state", "/page/static/page.js", "/page/project"):
            assert httpx.get(backend.url + path, headers=_BROWSER).status_code == 401
        for path in ("masks", "pictures", "doctor"):
            assert httpx.post(f"{backend.url}/page/{path}").status_code == 401
        credentials = HttpCredentials(username=_USER, password=_PASSWORD)
        with opened_page(
            playwright, f"{backend.url}/{_SECRET}/", credentials=credentials
        ) as playground:
            playground.choose(picture, _LABELS)
            assert set(playground.masks()) == {"cat", "dog"}


def test_page_that_is_off_is_not_there(tmp_path: Path) -> None:
    with running_backend(
        cache_dir=tmp_path,
        log_path=ARTIFACTS_DIR / "backend-page-off.log",
        environment={"PAGE": "off"},
    ) as backend:
        index = httpx.get(backend.url, headers=_BROWSER)
        state = httpx.get(f"{backend.url}/page/state", headers=_BROWSER)

    assert index.json()["status"] == "UP"
    assert state.status_code == 404


def test_another_page_can_neither_post_nor_read_the_token(
    playwright: Playwright, served: ServedBackend
) -> None:
    with running_web_server() as elsewhere:
        elsewhere.serve(
            "/evil.html", b"<!doctype html>", headers={"Content-Type": "text/html"}
        )
        browser = playwright.chromium.launch(
            executable_path=require_program("chromium"), args=FLAGS
        )
        try:
            page = browser.new_page()
            page.goto(f"http://{LOOPBACK}:{elsewhere.port}/evil.html")
            statuses: dict[str, int] = {}
            page.on(
                "response",
                lambda r: statuses.update({r.request.method + " " + r.url: r.status}),
            )
            outcome = page.evaluate(
                """async (url) => {
                    const tries = {};
                    const attempt = async (name, options, path) => {
                        tries[name] = await fetch(url + path, options)
                            .then((r) => r.type, () => "blocked");
                    };
                    const post = {method: "POST", body: "{}"};
                    await attempt("plain", {...post, mode: "no-cors"}, "/page/masks");
                    await attempt("with a token",
                        {...post, headers: {"X-Page-Token": "x"}}, "/page/doctor");
                    await attempt("reading", {headers: {Accept: "text/html"}}, "/");
                    return tries;
                }""",
                served.url,
            )
        finally:
            browser.close()

    assert statuses[f"POST {served.url}/page/masks"] == 403
    assert f"POST {served.url}/page/doctor" not in statuses
    assert outcome == {
        "plain": "opaque",
        "with a token": "blocked",
        "reading": "blocked",
    }
