"""What a person does with smart tools and brushes in Label Studio's own editor."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import TimeoutError

from tests.e2e.browser import Browser
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.seeding import PredictedTask

# The project's settings in the browser, which outlive a test.
_SETTINGS: Final = "labelStudio:settings"
_IMAGE: Final = 'img[alt="image"]'
_ASKED: Final = "interactive-annotating"
# The draft follows a change by 5 s at most.
_DRAFT_TIMEOUT_S: Final = 30

Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ClickEditor:
    """One task in the editor, with smart tools on.

    Attributes:
        browser: that shows it.
        api: of the same Label Studio.
        task: the task.
        size_yx: of its picture.
        tags: names of the config's tags with labels, in order, each with its labels.
    """

    browser: Browser
    api: LabelStudioApi
    task: PredictedTask
    size_yx: tuple[int, int]
    tags: Mapping[str, Sequence[str]]

    def choose(self, tag: str, label: str) -> None:
        """Select a label of a tag; none may be selected there yet."""
        place = list(self.tags).index(tag)
        group = self.browser.page.locator(".lsf-labels").nth(place)
        group.locator(".lsf-label").nth(self.tags[tag].index(label)).click()

    def take_smart_tool(self, name: str) -> None:
        """Take a smart tool, such as "key-point-tool"; the label is chosen before."""
        tool = f'.lsf-tool_smart[aria-label="{name}"]'
        group = self.browser.page.locator(".lsf-toolbar__group").last
        group.hover()
        group.locator(tool).last.click(force=True)

    def take_tool(self, name: str) -> None:
        """Take a plain tool, such as "brush-tool" or "eraser"."""
        self.browser.page.locator(f'[aria-label="{name}"]').first.click()

    def click(
        self, place: Place, *, is_positive: bool = True, through: bool = False
    ) -> list[dict[str, Any]]:
        """Click on a pixel (row, column) with a smart point; the answered results.

        Args:
            place: of the pixel, its centre at .5.
            is_positive: False holds Alt.
            through: holds Ctrl, which passes through the mask there.
        """
        keys = [*(["Control"] if through else []), *([] if is_positive else ["Alt"])]
        with self._answer() as answered, self._held(keys):
            self.browser.page.mouse.click(*self.screen(place))
        return answered

    def box(self, first: Place, last: Place) -> list[dict[str, Any]]:
        """Draw a smart rectangle from one corner to another; the answered results."""
        with self._answer() as answered:
            self.drag([first, last])
        return answered

    def drag(self, way: Sequence[Place], *, through: bool = False) -> None:
        """Press the mouse at the first place, move along, let go at the last."""
        mouse = self.browser.page.mouse
        with self._held(["Control"] if through else []):
            mouse.move(*self.screen(way[0]))
            mouse.down()
            for place in way[1:]:
                mouse.move(*self.screen(place), steps=8)
            mouse.up()

    def accept(self) -> None:
        """Accept all suggestions."""
        button = "bottombar-accept-suggestions-button"
        self.browser.page.get_by_test_id(button).click()

    def reject(self) -> None:
        """Reject all suggestions."""
        button = "bottombar-reject-suggestions-button"
        self.browser.page.get_by_test_id(button).click()

    def select_region(self, number: int) -> None:
        """Select a region by its place in the list of regions, from 0."""
        self.browser.page.locator(".lsf-outliner-item").nth(number).click()

    def draft(self, is_wanted: Any = bool) -> list[dict[str, Any]]:
        """The results of the draft, once it is as it is wanted."""
        deadline = time.monotonic() + _DRAFT_TIMEOUT_S
        while True:
            drafts = self.api.drafts(self.task.id)
            results: list[dict[str, Any]] = drafts[-1]["result"] if drafts else []
            if drafts and is_wanted(results):
                return results
            if time.monotonic() > deadline:
                raise LookupError(f"No draft as wanted; it holds {results}"[:2000])
            # Not asleep: the window's requests pass through this process.
            self.browser.page.wait_for_timeout(200)

    def submit(self) -> list[dict[str, Any]]:
        """Submit; the results of the one annotation."""
        self.browser.submit()
        (annotation,) = self.api.annotations(self.task.id)
        results: list[dict[str, Any]] = annotation["result"]
        return results

    def screen(self, place: Place) -> tuple[float, float]:
        """Where a place of the picture is in the window: x, y."""
        box = self.browser.page.locator(_IMAGE).bounding_box()
        assert box is not None
        rows, columns = self.size_yx
        y, x = place
        return (
            box["x"] + x * box["width"] / columns,
            box["y"] + y * box["height"] / rows,
        )

    @contextmanager
    def _answer(self) -> Iterator[list[dict[str, Any]]]:
        """Filled with what the backend answers to what is done in the block."""
        answered: list[dict[str, Any]] = []
        with self.browser.page.expect_response(lambda r: _ASKED in r.url) as response:
            yield answered
        answered += response.value.json()["data"]["result"]

    @contextmanager
    def _held(self, keys: Sequence[str]) -> Iterator[None]:
        for key in keys:
            self.browser.page.keyboard.down(key)
        yield
        for key in keys:
            self.browser.page.keyboard.up(key)


def connect_interactive(api: LabelStudioApi, project_id: int) -> None:
    """Have the project's one backend asked by smart tools."""
    (row,) = api.backends(project_id)
    api.update_backend(row, is_interactive=True)


def open_with_smart_tools(
    browser: Browser,
    api: LabelStudioApi,
    task: PredictedTask,
    *,
    size_yx: tuple[int, int],
    tags: Mapping[str, Sequence[str]],
    accepts_itself: bool = False,
    keeps_label: bool = False,
) -> ClickEditor:
    """Open a task with Auto-Annotation on.

    Args:
        browser: a window; what is set in it stays until `forget_settings`.
        api: of its Label Studio.
        task: predicted, its backend interactive.
        size_yx: of its picture.
        tags: the config's tags with labels, in order.
        accepts_itself: whether Auto-Accept Suggestions is on.
        keeps_label: whether a label stays selected after a region.
    """
    page = browser.page
    page.evaluate(
        """([key, accepts, keeps]) => {
            localStorage.setItem('autoAnnotation', 'true');
            localStorage.setItem('autoAcceptSuggestions', String(accepts));
            localStorage.setItem(key, JSON.stringify({continuousLabeling: keeps}));
        }""",
        [_SETTINGS, accepts_itself, keeps_label],
    )
    browser.open_task(task.project_id, task.id)
    # Sometimes a fresh visit shows an empty annotation although there is a prediction.
    for _ in range(5):
        try:
            page.locator(".lsf-outliner-item").first.wait_for(timeout=5000)
            break
        except TimeoutError:
            page.reload()
    return ClickEditor(browser=browser, api=api, task=task, size_yx=size_yx, tags=tags)


def forget_settings(browser: Browser) -> None:
    """Leave the window to others as it was."""
    browser.page.evaluate(
        """key => {
            for (const name of ['autoAnnotation', 'autoAcceptSuggestions', key])
                localStorage.removeItem(name);
        }""",
        _SETTINGS,
    )
