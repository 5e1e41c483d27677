"""Headless Chromium on Label Studio's own editor: what does a person see?"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, Playwright, ViewportSize

from tests.e2e.label_studio import LabelStudio
from tests.e2e.processes import require_program

_WINDOW: Final = ViewportSize(width=1400, height=900)
FLAGS: Final = (
    "--no-sandbox",  # as root, as in most containers, there is no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_STEP_TIMEOUT_S: Final = 60
_POLL_S: Final = 0.5
# The picture under the canvases; its box is the mask's box.
_EDITOR_IMAGE: Final = 'img[alt="image"]'
_NEXT_PAGE: Final = ".lsf-pagination__btn_arrow-right"


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A window that is logged in to one Label Studio."""

    page: Page
    label_studio: LabelStudio

    def open_task(self, project_id: int, task_id: int) -> None:
        """Open a task in the editor, from its project's page, as a person does.

        The way round matters: the first visit of a project makes its table
        view. When that visit goes to a task directly, Label Studio's page loads
        the task twice at once and now and then shows it without its predictions.
        """
        project = f"{self.label_studio.url}/projects/{project_id}/data"
        with self.page.expect_response(lambda r: "/api/tasks?" in r.url):
            self.page.goto(project, wait_until="domcontentloaded")
        self.page.goto(f"{project}?task={task_id}", wait_until="domcontentloaded")
        self.page.wait_for_selector("canvas")
        self.page.wait_for_function(
            "selector => document.querySelector(selector)?.naturalWidth > 0",
            arg=_EDITOR_IMAGE,
        )

    def show_next_page(self, size_yx: tuple[int, int]) -> None:
        """Turn to the next picture of a `valueList`, which has this upright size."""
        self.page.locator(_NEXT_PAGE).first.click()
        self.page.wait_for_function(
            """([selector, rows, columns]) => {
                const image = document.querySelector(selector);
                return image?.naturalHeight === rows && image.naturalWidth === columns;
            }""",
            arg=[_EDITOR_IMAGE, *size_yx],
        )

    def submit(self) -> None:
        """Submit the open task as it is, and wait until Label Studio has it."""
        with self.page.expect_response(
            lambda r: r.request.method == "POST" and "/annotations" in r.url
        ) as answer:
            self.page.get_by_role("button", name="Submit").first.click()
        if not answer.value.ok:
            raise ValueError(f"Label Studio refused it: {answer.value.text()[:1000]}")

    def start_training(self, project_id: int) -> None:
        """Click *Start Training* behind the dots of the project's one backend."""
        url = f"{self.label_studio.url}/projects/{project_id}/settings/ml"
        self.page.goto(url, wait_until="domcontentloaded")
        self.page.get_by_label("Machine learning model options").click()
        self.page.get_by_text("Start Training", exact=True).click()
        # Label Studio asks once more, and then shows what it was answered.
        with self.page.expect_response(lambda r: r.url.endswith("/train")) as answer:
            self.page.get_by_role("button", name="Start Training").click()
        if not answer.value.ok:
            raise ValueError(f"Label Studio refused it: {answer.value.text()[:1000]}")
        self.page.get_by_text("Request Sent!").wait_for()

    def read_image_area(self, size_yx: tuple[int, int]) -> NDArray[np.uint8]:
        """What the screen shows over the picture, one pixel per image pixel.

        Args:
            size_yx: the picture's upright size.

        Returns:
            uint8 (Y, X, 3): the screen's colour at the centre of each image pixel.

        Raises:
            ValueError: the editor shows a picture of another size.
        """
        image = self.page.locator(_EDITOR_IMAGE)
        width, height = image.evaluate("i => [i.naturalWidth, i.naturalHeight]")
        if (height, width) != size_yx:
            raise ValueError(
                f"The editor's picture is {height} x {width}, not {size_yx}"
            )
        box = image.bounding_box()
        assert box is not None
        with Image.open(BytesIO(self.page.screenshot())) as shot:
            screen = np.asarray(shot.convert("RGB"))
        rows = box["y"] + (np.arange(height) + 0.5) * box["height"] / height
        columns = box["x"] + (np.arange(width) + 0.5) * box["width"] / width
        return screen[np.ix_(rows.astype(int), columns.astype(int))]

    def wait_for_painting(
        self,
        size_yx: tuple[int, int],
        is_painted: Callable[[NDArray[np.uint8]], bool],
        *,
        timeout_s: float = 30,
    ) -> NDArray[np.uint8]:
        """Read the image area until `is_painted` agrees or time is up.

        The editor draws masks some time after it has loaded the picture. The
        last reading is returned either way: the caller asserts on it.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            area = self.read_image_area(size_yx)
            if is_painted(area) or time.monotonic() > deadline:
                return area
            time.sleep(_POLL_S)

    def save_screenshot(self, path: Path) -> None:
        """Keep the whole window as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)


@contextmanager
def logged_in_browser(
    playwright: Playwright, *, label_studio: LabelStudio, folder: Path
) -> Iterator[Browser]:
    """Open Chromium with a fresh profile in `folder` and log in."""
    own_address = urlsplit(label_studio.url).netloc
    context = playwright.chromium.launch_persistent_context(
        folder,
        executable_path=require_program("chromium"),
        headless=True,
        viewport=_WINDOW,
        args=FLAGS,
    )
    try:
        context.set_default_timeout(_STEP_TIMEOUT_S * 1000)
        context.route(
            lambda url: urlsplit(url).netloc not in {own_address, ""},
            lambda route: route.abort(),
        )
        page = context.pages[0]
        _log_in(page, label_studio)
        yield Browser(page=page, label_studio=label_studio)
    finally:
        context.close()


def _log_in(page: Page, label_studio: LabelStudio) -> None:
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", label_studio.email)
    page.fill("input[name=password]", label_studio.password)
    page.click("button[type=submit]")
    page.wait_for_url(
        lambda url: "/user/login" not in url, wait_until="domcontentloaded"
    )
