"""How long Label Studio's editor takes with our regions, by tag and size of picture.

    python -m tests.bench.bench_editor [--rounds 3] [--sizes 640x480,4000x3000]

A real Label Studio and a real Chromium. Each time, a task that nobody has seen yet is
opened by its address: seconds until all of its pre-annotated masks are painted, and
then from the press of Submit until Label Studio has the annotation and the page answers
again. Each mask is a wavy object with a hole in a column of its own. Tags take turns
within a round, so that what else the machine does is shared among them: look at ratios.

Needs `make label-studio` and Chromium.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

from backend.regions import parts
from backend.regions.results import write_region
from backend.types import Control, CutOptions, ImageTag, Label
from tests.e2e.browser import Browser, logged_in_browser
from tests.e2e.label_studio import running_label_studio
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.processes import ARTIFACTS_DIR
from tests.masks import wavy

SIZES: Final = "640x480,1920x1080,4000x3000"
TAGS: Final = ("brush", "bitmask", "polygon")
COUNTS: Final = (1, 5)
COLOURS: Final = ((255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 0, 255), (0, 200, 200))
LABELS: Final = tuple(f"label {number}" for number in range(1, len(COLOURS) + 1))
GREY: Final = 128
# Grey levels that paint moves the picture by, at least.
_PAINTED: Final = 20
_TIMEOUT_S: Final = 300.0
_POLL_S: Final = 0.05
_EDITOR_IMAGE: Final = 'img[alt="image"]'


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is opened."""

    size_yx: tuple[int, int]
    n_masks: int
    tag: str


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds; None for what was not done within the limit."""

    open_s: float | None
    submit_s: float | None


def config(tag: str) -> str:
    """A control of one tag with a label for each mask."""
    element = f"{tag.capitalize()}Labels"
    labels = "".join(
        f'<Label value="{name}" background="#{bytes(colour).hex()}"/>'
        for name, colour in zip(LABELS, COLOURS, strict=True)
    )
    return (
        f'<View><Image name="image" value="$image"/>'
        f'<{element} name="tag" toName="image">{labels}</{element}></View>'
    )


def masks(case: Case) -> list[NDArray[np.bool_]]:
    """One object a column."""
    rows, columns = case.size_yx
    width = columns // case.n_masks
    found = []
    for number in range(case.n_masks):
        mask = np.zeros(case.size_yx, np.bool_)
        mask[:, number * width : (number + 1) * width] = wavy(rows, width)
        found.append(mask)
    return found


def results(case: Case) -> list[dict[str, Any]]:
    """The regions as the backend would write them, at the default tolerance."""
    found: list[dict[str, Any]] = []
    for number, mask in enumerate(masks(case)):
        label = Label(name=LABELS[number], prompts=(LABELS[number],))
        control = Control(
            from_name="tag",
            image=ImageTag(name="image", value="$image"),
            shape=case.tag,
            labels=(label,),
            cut=CutOptions(threshold_01=0.5),
            mode="fast",
        )
        found += write_region(
            parts(mask)[0] if case.tag == "polygon" else mask,
            control=control,
            label=label,
            size_yx=case.size_yx,
            score=0.9,
            region_id=f"region-{number}",
        )
    return found


def inner_points(case: Case) -> list[tuple[float, float]]:
    """A place well within each mask, as shares (x, y) of the picture."""
    points = []
    for mask in masks(case):
        rows, columns = np.nonzero(mask)
        # Left of the hole, on the mask's middle row.
        row = int(np.median(rows))
        inside = columns[rows == row]
        column = inside.min() + (inside.max() - inside.min()) * 0.12
        points.append(((column + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0]))
    return points


def measure(browser: Browser, project_id: int, task_id: int, case: Case) -> Times:
    """Open one task and submit it."""
    page = browser.page
    url = f"{browser.label_studio.url}/projects/{project_id}/data"
    began = time.monotonic()
    page.goto(f"{url}?task={task_id}", wait_until="commit")
    if not _wait_until_painted(browser, inner_points(case), began):
        return Times(open_s=None, submit_s=None)
    open_s = time.monotonic() - began

    began = time.monotonic()
    with page.expect_response(
        lambda r: r.request.method == "POST" and "/annotations" in r.url
    ):
        page.get_by_role("button", name="Submit").first.click()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return Times(open_s=open_s, submit_s=time.monotonic() - began)


def _wait_until_painted(
    browser: Browser, points: Sequence[tuple[float, float]], began: float
) -> bool:
    browser.page.wait_for_selector(_EDITOR_IMAGE)
    while time.monotonic() - began < _TIMEOUT_S:
        if _is_painted(browser, points):
            return True
        time.sleep(_POLL_S)
    return False


def _is_painted(browser: Browser, points: Sequence[tuple[float, float]]) -> bool:
    """Whether each point shows the colour of its label over the grey picture."""
    box = browser.page.locator(_EDITOR_IMAGE).bounding_box()
    if box is None or not box["width"]:
        return False
    with Image.open(BytesIO(browser.page.screenshot())) as shot:
        screen = np.asarray(shot.convert("RGB")).astype(int)
    for (x, y), colour in zip(points, COLOURS, strict=False):
        row = int(box["y"] + y * box["height"])
        column = int(box["x"] + x * box["width"])
        if not (0 <= row < screen.shape[0] and 0 <= column < screen.shape[1]):
            return False
        change = screen[row, column] - GREY
        towards = np.sign(np.array(colour) - GREY)
        if (change * towards).min() < 0 or np.abs(change).max() < _PAINTED:
            return False
    return True


def cases(sizes: Sequence[tuple[int, int]]) -> Iterator[Case]:
    """Small ones first; of each size and count, one tag after the other."""
    for size_yx in sizes:
        for n_masks in COUNTS:
            for tag in TAGS:
                yield Case(size_yx=size_yx, n_masks=n_masks, tag=tag)


def prepare(
    api: LabelStudioApi, asked: Sequence[Case], rounds: int
) -> dict[Case, tuple[int, list[int]]]:
    """A project for each case, with a predicted task for each round."""
    found: dict[Case, tuple[int, list[int]]] = {}
    for case in asked:
        project_id = api.create_project("Editor", config(case.tag))
        picture = BytesIO()
        Image.new("RGB", case.size_yx[::-1], (GREY,) * 3).save(picture, "PNG")
        address = api.upload_file(project_id, "grey.png", picture.getvalue())
        tasks = api.import_tasks(project_id, [{"image": address}] * (rounds + 1))
        regions = results(case)
        for task in tasks:
            api.store_prediction(task["id"], "by-hand-1", regions)
        found[case] = project_id, [int(task["id"]) for task in tasks]
    return found


def table(times: dict[Case, list[Times]]) -> Table:
    """Medians; of two tags the ratio is what to look at."""
    found = Table(title="Seconds in the editor, medians")
    for head in ("picture", "masks", "tag", "open", "submit"):
        found.add_column(head)
    for case, measured in times.items():
        rows, columns = case.size_yx
        found.add_row(
            f"{columns} x {rows}",
            str(case.n_masks),
            case.tag,
            _median([one.open_s for one in measured]),
            _median([one.submit_s for one in measured]),
        )
    return found


def _median(seconds: Sequence[float | None]) -> str:
    known = [one if one is not None else _TIMEOUT_S for one in seconds]
    middle = median(known)
    return f"{middle:.1f}" if middle < _TIMEOUT_S else f"> {_TIMEOUT_S:.0f}"


def _read_sizes(text: str) -> list[tuple[int, int]]:
    found = []
    for size in text.split(","):
        columns, rows = size.split("x")
        found.append((int(rows), int(columns)))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=_read_sizes, default=_read_sizes(SIZES))
    options = parser.parse_args()
    console = Console()
    times: dict[Case, list[Times]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_label_studio(
            folder=Path(folder) / "data", log_path=ARTIFACTS_DIR / "bench-editor.log"
        ) as server,
        api_with_legacy_token(server.url, server.legacy_token) as api,
        sync_playwright() as playwright,
        logged_in_browser(
            playwright, label_studio=server, folder=Path(folder) / "b"
        ) as browser,
    ):
        browser.page.set_default_timeout(_TIMEOUT_S * 1000)
        prepared = prepare(api, list(cases(options.sizes)), options.rounds)
        # The first visit of a project makes its table view, and fills the caches.
        for case, (project_id, task_ids) in prepared.items():
            browser.open_task(project_id, task_ids[-1])
            if not _wait_until_painted(browser, inner_points(case), time.monotonic()):
                console.print(f"{case}: not painted in time")
        for number in range(options.rounds):
            for case, (project_id, task_ids) in prepared.items():
                done = measure(browser, project_id, task_ids[number], case)
                times[case].append(done)
                console.print(f"round {number + 1}: {case} {done}", highlight=False)
    console.print(table(times))


if __name__ == "__main__":
    main()
