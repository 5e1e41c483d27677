"""The backend's own page in a real Chromium, as a person uses it."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import (
    HttpCredentials,
    Page,
    Playwright,
    ViewportSize,
    expect,
)

from tests.e2e.browser import FLAGS
from tests.e2e.examples import Picture
from tests.e2e.processes import REPOSITORY, NotReady, require_program

Mask = NDArray[np.bool_]

WIDE: Final = ViewportSize(width=1280, height=900)
NARROW: Final = ViewportSize(width=400, height=800)
# The first picture waits for the model to be loaded, on a busy machine for long.
_TIMEOUT_MS: Final = 150_000
# What a page that is let down by its own policy would say, and what it met.
_WATCH: Final = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@dataclass(frozen=True, kw_only=True)
class Playground:
    """The playground in a window.

    Attributes:
        page: the window.
        asked: addresses of all requests so far.
    """

    page: Page
    asked: list[str]

    def choose(self, picture: Picture, labels: str) -> None:
        """Choose a picture's file, with labels typed before, and wait for masks."""
        self.page.get_by_label("One a line").fill(labels)
        file: Any = {
            "name": picture.example.file_name,
            "mimeType": "image/png",
            "buffer": picture.content,
        }
        self.page.get_by_label("Drop a picture here").set_input_files(file)
        self.expect_status("painted")

    def expect_status(self, text: str) -> None:
        """Wait until the status line says something."""
        expect(self.page.get_by_role("status")).to_contain_text(
            text, timeout=_TIMEOUT_MS
        )

    def mask(self, label: str) -> Mask:
        """The pixels that are painted for a label; raises where it has no mask."""
        (mask,) = [m for name, m in self.masks().items() if name == label]
        return mask

    def masks(self) -> dict[str, Mask]:
        """All masks on the screen, by the names of their labels."""
        found = self.page.locator("#masks img").evaluate_all(
            "all => all.map(i => [JSON.parse(i.dataset.of)[1], i.src])"
        )
        return {name: _opaque(address) for name, address in found}

    def row(self, label: str) -> Any:
        """The line of a label."""
        return self.page.locator("#found tr").filter(
            has=self.page.get_by_role("button", name=label, exact=True)
        )

    def label(self, name: str) -> Any:
        """The button of a label."""
        return self.page.locator("#found").get_by_role("button", name=name, exact=True)

    def screen(self, place_yx: tuple[float, float], size_yx: tuple[int, int]) -> Any:
        """Where a place of the picture is in the window: x and y."""
        self.page.locator("#stage").scroll_into_view_if_needed()
        box = self.page.locator("#picture").bounding_box()
        assert box is not None
        y = box["y"] + place_yx[0] * box["height"] / size_yx[0]
        x = box["x"] + place_yx[1] * box["width"] / size_yx[1]
        return x, y

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps somebody from using the page as it is."""
        found = self.page.evaluate("axe.run()")["violations"]
        return [
            f"{one['impact']} {one['id']}: {node['html'][:200]}"
            for one in found
            for node in one["nodes"]
        ]

    def tab_to(self, selector: str) -> None:
        """Press Tab until a control has the focus; fails where it never does."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if self.page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"Tab does not lead to {selector}")


@contextmanager
def opened_page(
    playwright: Playwright,
    url: str,
    *,
    viewport: ViewportSize = WIDE,
    scheme: Literal["dark", "light"] = "light",
    credentials: HttpCredentials | None = None,
    looks_for_barriers: bool = False,
) -> Iterator[Playground]:
    """Open an address of the page in a window of its own.

    With `looks_for_barriers`, axe-core is there too, see `Playground.barriers`.

    Ends with an error if anything was asked of another host, was against the page's
    own Content-Security-Policy, or broke its script.
    """
    browser = playwright.chromium.launch(
        executable_path=require_program("chromium"), args=FLAGS
    )
    try:
        context = browser.new_context(
            viewport=viewport, color_scheme=scheme, http_credentials=credentials
        )
        context.add_init_script(_WATCH)
        if looks_for_barriers:
            context.add_init_script(path=_axe())
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        asked: list[str] = []
        broken: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(url)
        yield Playground(page=page, asked=asked)
        host = urlsplit(url).netloc
        strange = [one for one in asked if urlsplit(one).netloc not in {host, ""}]
        assert not strange, f"asked of other hosts: {strange}"
        assert not broken, broken
        assert page.evaluate("window.violations") == []
    finally:
        browser.close()


def _axe() -> Path:
    found = list(REPOSITORY.glob(".venvs/axe/lib/*/site-packages/*/axe.min.js"))
    if not found:
        raise NotReady("axe-core is not installed. `make axe` installs it.")
    return found[0]


def _opaque(address: str) -> Mask:
    data = base64.b64decode(address.partition(",")[2])
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))[..., 3] > 0
