"""One tree of this project, painting on demand: the child of `bench_painting`.

Run as a file with the tree to measure on the import path, which may be an old one: of
this project it imports what both have. It paints once and says what memory that took;
then it reads lines and answers each with a line of JSON: "paint" with milliseconds of
CPU, "masks PATH" once the masks of the regions are written there.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Regions = list[dict[str, Any]]

# Blobs are drawn at this size and enlarged; noise of a sensor at full size.
_DRAWN_PX = 1024
_NOISE = 6
_CELLS = 64


def scene(
    size_yx: tuple[int, int], n_labels: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """A picture of two wavy objects a label, and coarse maps of where they are."""
    rng = np.random.default_rng(0)
    drawn_yx = [max(1, round(_DRAWN_PX * side / max(size_yx))) for side in size_yx]
    rows, columns = np.mgrid[: drawn_yx[0], : drawn_yx[1]]
    picture = np.empty((*drawn_yx, 3), np.float32)
    picture[:] = (90 + 60 * columns / drawn_yx[1] + 40 * rows / drawn_yx[0])[..., None]
    owners = np.full(drawn_yx, -1)
    for index in np.repeat(np.arange(n_labels), 2):
        y, x = rng.random(2) * drawn_yx
        radius = (0.1 + 0.1 * rng.random()) * min(drawn_yx) * (5 / n_labels) ** 0.5
        waves = 1 + 0.2 * np.sin(5 * np.arctan2(rows - y, columns - x) + index)
        inside = np.hypot(rows - y, columns - x) < radius * waves
        picture[inside] = rng.integers(0, 256, 3)
        owners[inside] = index
    large = cv2.resize(picture, size_yx[::-1], interpolation=cv2.INTER_LINEAR)
    pixels = np.empty((*size_yx, 3), np.uint8)
    for top in range(0, size_yx[0], 256):
        part = large[top : top + 256]
        part += rng.standard_normal(part.shape, np.float32) * _NOISE
        pixels[top : top + 256] = part.clip(0, 255)
    return pixels, np.stack([_coarse(owners == n, rng) for n in range(n_labels)])


def _coarse(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float16]:
    cells = (_CELLS, _CELLS)
    small = cv2.resize(mask.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), 1.5) + 0.05 * rng.random(cells)
    blurred -= blurred.min()
    return np.asarray(blurred / blurred.max(), np.float16)


def painter(size_yx: tuple[int, int], n_labels: int) -> Callable[[], Regions]:
    """What paints a scene once, by the tree on the import path."""
    # Old trees have these names elsewhere; mypy sees this tree alone.
    from segmenter import ScoreMaps

    try:
        from backend.regions import Canvas, paint
        from backend.types import Control, CutOptions, ImageTag, Label
    except ImportError:
        from backend.painting import Canvas, paint
        from backend.values import Control, CutOptions, ImageTag, Label
    pixels, maps = scene(size_yx, n_labels)
    names = tuple(f"label {number}" for number in range(n_labels))
    score_maps = ScoreMaps(
        labels=names,
        maps=maps,
        presence=np.ones(n_labels, np.float32),
        size_yx=size_yx,
    )
    control = Control(
        from_name="tag",
        image=ImageTag(name="image", value="$image"),
        shape="brush",
        labels=tuple(Label(name=name, prompts=(name,)) for name in names),
        cut=CutOptions(threshold_01=0.4, boundaries="guided"),
        mode="fast",
    )
    canvas = Canvas(task_id=1, pixels=pixels)
    return lambda: paint(control, score_maps, canvas)


def write_masks(regions: Regions, size_yx: tuple[int, int], path: Path) -> None:
    """Label map of the regions, 0 where there is none: uint8 (Y, X)."""
    try:
        from backend.regions.rle import decode_rle
    except ImportError:
        from backend.rle import decode_rle
    painted = np.zeros(size_yx, np.uint8)
    for region in regions:
        mask = decode_rle(region["value"]["rle"], size_yx=size_yx)
        painted[mask] = 1 + int(region["value"]["brushlabels"][0].split()[-1])
    np.save(path, painted)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _say(answer: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer until told to end."""
    cv2.setNumThreads(1)
    rows, columns, n_labels = map(int, sys.argv[1:])
    paint = painter((rows, columns), n_labels)
    # The peak of making the scene is nobody's.
    Path("/proc/self/clear_refs").write_text("5")
    regions = paint()
    answer: dict[str, float] = {"peak_mb": _peak_mb()}
    _say(answer)
    for line in iter(sys.stdin.readline, ""):
        command, _, path = line.strip().partition(" ")
        answer = {}
        if command == "masks":
            write_masks(regions, (rows, columns), Path(path))
        else:
            started_s = process_time()
            paint()
            answer["cpu_ms"] = 1e3 * (process_time() - started_s)
        _say(answer)


if __name__ == "__main__":
    main()
