"""What the page's playground takes: `python -m tests.bench.bench_page [--rounds N]`.

Medians with the pocket model: from the choice of a picture to its masks on the screen
of a real Chromium, beside `/predict` of such pictures; and each step of a slider, on
the screen and at the server.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import expect, sync_playwright
from rich.console import Console
from rich.table import Table

from segmenter.pocket.scenes import render_scene
from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.examples import Example, encode_file
from tests.e2e.page import Playground, opened_page
from tests.e2e.processes import ARTIFACTS_DIR
from tests.fakes import brush_config, data_uri

_SIZES: Final = ((128, 128), (512, 512))
_LABELS: Final = ("cat", "dog", "tree", "boat")
_FIRST_SEED: Final = 1_000_600
_STEPS: Final = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    table = Table(title=f"Milliseconds, medians of {rounds} pictures")
    for head in (
        *("picture", "chosen to masks", "/predict", "step on the screen"),
        *("step at the server", "chosen / step"),
    ):
        table.add_column(head, justify="right")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_backend(
            cache_dir=Path(folder), log_path=ARTIFACTS_DIR / "bench-page.log"
        ) as backend,
        sync_playwright() as playwright,
        opened_page(playwright, f"{backend.url}/") as playground,
    ):
        _choose(playground, _file((64, 64), 0))  # the model is loaded now
        for number, size_yx in enumerate(_SIZES):
            files = [
                _file(size_yx, 1 + number * 2 * rounds + place)
                for place in range(2 * rounds)
            ]
            chosen = _median_ms(files[:rounds], lambda f: _choose(playground, f))
            asked = _median_ms(files[rounds:], lambda f: _predict(backend, f))
            screen, server = _steps_ms(playground)
            table.add_row(
                f"{size_yx[0]} x {size_yx[1]}",
                *(f"{value:.0f}" for value in (chosen, asked, screen)),
                f"{server:.1f}",
                f"{chosen / screen:.1f}",
            )
    Console().print(table)


def _file(size_yx: tuple[int, int], place: int) -> bytes:
    example = Example(seed=_FIRST_SEED + place, size_yx=size_yx)
    return encode_file(example, render_scene(example.seed, size_yx=size_yx).image)


def _median_ms(files: list[bytes], work: Callable[[bytes], object]) -> float:
    times = []
    for file in files:
        started = time.perf_counter()
        work(file)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _choose(playground: Playground, content: bytes) -> None:
    page = playground.page
    page.get_by_label("One a line").fill("\n".join(_LABELS))
    file: Any = {"name": "a.png", "mimeType": "image/png", "buffer": content}
    with page.expect_response(lambda r: r.url.endswith("/page/masks")):
        page.get_by_label("Drop a picture here").set_input_files(file)
    playground.expect_status("painted")


def _predict(backend: ServedBackend, content: bytes) -> None:
    labels = "".join(f'<Label value="{label}"/>' for label in _LABELS)
    task = {"id": 1, "data": {"image": data_uri(content)}}
    backend.post("/predict", {"tasks": [task], "label_config": brush_config(labels)})


def _steps_ms(playground: Playground) -> tuple[float, float]:
    """One step of the slider: until the screen has it, and at the server."""
    page, screen, server = playground.page, [], []
    slider = page.get_by_label("Threshold of pixels")
    slider.focus()
    for number in range(_STEPS):
        started = time.perf_counter()
        with page.expect_response(lambda r: r.url.endswith("/page/masks")) as answer:
            page.keyboard.press("ArrowRight" if number % 8 < 4 else "ArrowLeft")
        value = float(slider.input_value())
        expect(page.locator("#config")).to_have_value(
            re.compile(re.escape(f'model_score_threshold="{value:g}"'))
        )
        screen.append(1000 * (time.perf_counter() - started))
        server.append(1000 * answer.value.json()["seconds"])
    return statistics.median(screen), statistics.median(server)


if __name__ == "__main__":
    main()
