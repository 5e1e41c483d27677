"""The pictures of docs/interactive.md: `python -m tests.e2e.pictures [FOLDER]`.

Label Studio's own editor while somebody mends two masks; where the mouse is and which
keys are held is written over it. Takes two minutes.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from tests.bench.annotator import iou_of, next_click
from tests.e2e.backend_process import running_backend
from tests.e2e.browser import Browser, logged_in_browser
from tests.e2e.clicking import (
    ClickEditor,
    Place,
    connect_interactive,
    open_with_smart_tools,
)
from tests.e2e.examples import Example, ExampleProject
from tests.e2e.label_studio import running_label_studio
from tests.e2e.label_studio_api import api_with_legacy_token
from tests.e2e.masks import decode_region, label_mask
from tests.e2e.processes import ARTIFACTS_DIR, REPOSITORY
from tests.e2e.seeding import PredictedTask, only_prediction, seed_project

# The sheep's mask covers half of the dog that lies on it.
_EXAMPLE: Final = Example(seed=1_000_158, size_yx=(240, 400))
_PROJECT: Final = ExampleProject(
    title="Clicks", labels=("sheep", "dog"), examples=(_EXAMPLE,)
)
_TAGS: Final = {name: _PROJECT.labels for name in ("tag", "points", "boxes")}
# Of the window: the picture, its tools, the labels and the bar below.
_LEFT_PX, _TOP_PX, _RIGHT_PX = 250, 95, 1075
_COLOURS: Final = 128
_SHRINK: Final = 0.6
_GOOD_IOU: Final = 0.9
_MOST_CLICKS: Final = 8

Mask = NDArray[np.bool_]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs"
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        label_studio = stack.enter_context(
            running_label_studio(
                folder=Path(scratch) / "label-studio",
                log_path=ARTIFACTS_DIR / "pictures-label-studio.log",
            )
        )
        backend = stack.enter_context(
            running_backend(
                label_studio_url=label_studio.url,
                token=label_studio.legacy_token,
                cache_dir=Path(scratch) / "cache",
                log_path=ARTIFACTS_DIR / "pictures-backend.log",
            )
        )
        api = stack.enter_context(
            api_with_legacy_token(label_studio.url, label_studio.legacy_token)
        )
        browser = stack.enter_context(
            logged_in_browser(
                stack.enter_context(sync_playwright()),
                label_studio=label_studio,
                folder=Path(scratch) / "browser",
            )
        )
        (seeded,) = seed_project(
            api,
            _PROJECT,
            backend_url=backend.url,
            label_config=_PROJECT.clickable_config,
        )
        connect_interactive(api, seeded.project_id)
        api.retrieve_predictions(seeded.project_id)
        task = PredictedTask(
            project_id=seeded.project_id,
            id=seeded.id,
            prediction=only_prediction(api, backend, seeded.id),
        )
        editor = open_with_smart_tools(
            browser,
            api,
            task,
            size_yx=_EXAMPLE.size_yx,
            tags=_TAGS,
            keeps_label=True,
        )
        truth = dict(zip(seeded.scene.words, seeded.scene.visible, strict=True))
        _mend(editor, truth, folder)


def _mend(editor: ClickEditor, truth: Mapping[str, Mask], folder: Path) -> None:
    """Each gesture, and a picture after it."""
    page = editor.browser.page
    editor.choose("points", "sheep")
    editor.take_smart_tool("key-point-tool")
    page.wait_for_timeout(500)
    _keep(editor.browser, folder / "clicks-1-tool.png")

    n_sheep = _click_errors(editor, "sheep", truth["sheep"])
    _keep(editor.browser, folder / "clicks-2-negative.png")
    _forget_pointers(editor)
    editor.accept()

    page.keyboard.press("Escape")
    editor.choose("points", "dog")
    editor.take_smart_tool("key-point-tool")
    n_dog = _click_errors(editor, "dog", truth["dog"])
    _keep(editor.browser, folder / "clicks-3-positive.png")
    _forget_pointers(editor)
    editor.accept()
    page.mouse.move(0, 0)
    _keep(editor.browser, folder / "clicks-4-mended.png")
    Console().print(f"{n_sheep} clicks on the sheep, {n_dog} on the dog")

    page.get_by_role("button", name="Settings", exact=True).last.click()
    page.wait_for_timeout(500)
    _keep(editor.browser, folder / "clicks-5-keep-label.png")


def _click_errors(editor: ClickEditor, label: str, truth: Mask) -> int:
    """Click where most is wrong until little is, and mark it; how many clicks."""
    mask = label_mask(editor.task.prediction, label, editor.size_yx)
    count = 0
    while iou_of(mask, truth) < _GOOD_IOU and count < _MOST_CLICKS:
        click = next_click(mask, truth)
        place = (click.y, click.x)
        (region,) = editor.click(place, is_positive=click.is_positive, through=True)
        gesture = "Ctrl+click" if click.is_positive else "Ctrl+Alt+click"
        _point_at(editor, place, gesture)
        mask = decode_region(region, editor.size_yx)
        count += 1
    return count


def _point_at(editor: ClickEditor, place: Place, text: str) -> None:
    """Write beside a place what was done there; the mouse is on no screenshot."""
    x, y = editor.screen(place)
    editor.browser.page.evaluate(
        """([x, y, text]) => {
            const mark = document.createElement('div');
            mark.className = 'pointer';
            mark.style = `position: fixed; z-index: 9999; left: ${x - 9}px;
                top: ${y - 9}px; pointer-events: none; white-space: nowrap;`;
            mark.innerHTML = `<div style="width: 14px; height: 14px; border: 3px solid
                white; outline: 2px solid black; border-radius: 50%"></div>
                <div style="margin: 6px 0 0 20px; padding: 3px 8px; background: white;
                border: 2px solid black; border-radius: 6px; font: bold 20px
                sans-serif; color: black">${text}</div>`;
            document.body.append(mark);
        }""",
        [x, y, text],
    )


def _forget_pointers(editor: ClickEditor) -> None:
    editor.browser.page.evaluate(
        "document.querySelectorAll('.pointer').forEach(mark => mark.remove())"
    )


def _keep(browser: Browser, path: Path) -> None:
    """A small picture of what counts of the window."""
    browser.page.wait_for_timeout(1500)
    with Image.open(BytesIO(browser.page.screenshot())) as shot:
        part = shot.convert("RGB").crop((_LEFT_PX, _TOP_PX, _RIGHT_PX, shot.height))
    small = part.resize(
        (round(part.width * _SHRINK), round(part.height * _SHRINK)),
        Image.Resampling.LANCZOS,
    )
    small.quantize(_COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
