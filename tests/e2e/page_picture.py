"""The picture of docs/page.md and README: `python -m tests.e2e.page_picture [FILE]`.

The playground with the scene of the README, in a real Chromium. Takes half a minute.
"""

import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from tests.e2e.backend_process import running_backend
from tests.e2e.page import opened_page
from tests.e2e.processes import ARTIFACTS_DIR, REPOSITORY

_WINDOW: Final = ViewportSize(width=1180, height=980)
_COLOURS: Final = 192


def main() -> None:
    file = Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "docs" / "page.png")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_backend(
            cache_dir=Path(folder), log_path=ARTIFACTS_DIR / "page-picture.log"
        ) as backend,
        sync_playwright() as playwright,
        opened_page(playwright, f"{backend.url}/", viewport=_WINDOW) as playground,
    ):
        page = playground.page
        page.get_by_label("One a line").fill("cat\ndog\ntree\nboat")
        scene = REPOSITORY / "docs" / "scene.png"
        page.get_by_label("Drop a picture here").set_input_files(scene)
        playground.expect_status("painted")
        # What is said of the first picture tells how long the model loaded.
        page.get_by_label("Edges follow").uncheck()
        page.get_by_label("Edges follow").check()
        playground.expect_status("from kept maps")
        page.wait_for_timeout(1000)
        page.mouse.move(5, 5)
        shot = page.screenshot(full_page=True)
    with Image.open(BytesIO(shot)) as image:
        image.convert("RGB").quantize(_COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    main()
