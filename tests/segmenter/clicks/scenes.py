"""Pictures, maps and features of a known object, small and without a model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter import Box, Click, ScoreMaps, refine_mask

Bools = NDArray[np.bool_]

SIZE_YX = (60, 96)
GRID_YX = (15, 24)
THRESHOLD = 0.46
PRESENCE = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A grey picture with a red object on the left and a blue one on the right."""

    pixels: NDArray[np.uint8]
    maps: ScoreMaps
    red: Bools
    blue: Bools


def known(size_yx: tuple[int, int] = SIZE_YX) -> Known:
    """The picture at some size; a label for each object, and one that is absent."""
    rows, columns = np.mgrid[: size_yx[0], : size_yx[1]]
    y, x = rows / size_yx[0], columns / size_yx[1]
    red = (np.abs(y - 0.5) < 0.3) & (np.abs(x - 0.25) < 0.15)
    blue = (np.abs(y - 0.5) < 0.3) & (np.abs(x - 0.75) < 0.15)
    pixels = np.full((*size_yx, 3), 130, np.uint8)
    pixels[red] = (200, 40, 40)
    pixels[blue] = (40, 60, 200)
    return Known(
        pixels=pixels,
        maps=ScoreMaps(
            labels=("red thing", "blue thing", "nothing"),
            maps=np.stack([_cells(red), _cells(blue), _cells(red) * 0]).astype(
                np.float16
            ),
            presence=np.array([1, 1, 0], np.float32),
            size_yx=size_yx,
            features=_features(red, blue),
        ),
        red=red,
        blue=blue,
    )


def refine(
    scene: Known,
    *clicks: Click,
    boxes: tuple[Box, ...] = (),
    start: Bools | None = None,
    label: int | None = 0,
    maps: ScoreMaps | None = None,
    is_blind: bool = False,
) -> Bools:
    """Ask for a mask of the picture, by default of the red thing."""
    return refine_mask(
        scene.pixels,
        clicks=clicks,
        boxes=boxes,
        start=start,
        maps=None if is_blind else maps or scene.maps,
        label=None if is_blind else label,
        threshold=THRESHOLD,
        presence_threshold=PRESENCE,
    )


def on(mask: Bools, *, is_positive: bool = True) -> Click:
    """A click in the middle of a mask."""
    rows, columns = np.nonzero(mask)
    return Click(
        y=float(rows.mean()) + 0.5,
        x=float(columns.mean()) + 0.5,
        is_positive=is_positive,
    )


def iou(mask: Bools, truth: Bools) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def _cells(mask: Bools) -> NDArray[np.float32]:
    """A map of a mask, as soft as a model's: float32 (h, w)."""
    rows = np.linspace(0, mask.shape[0] - 1, GRID_YX[0]).astype(int)
    columns = np.linspace(0, mask.shape[1] - 1, GRID_YX[1]).astype(int)
    return 0.9 * mask[np.ix_(rows, columns)].astype(np.float32)


def _features(red: Bools, blue: Bools) -> NDArray[np.float16]:
    """One direction each for background, red and blue, and a little noise."""
    kinds = np.stack([_cells(~(red | blue)), _cells(red), _cells(blue)])
    noise = np.random.default_rng(0).normal(0, 0.02, kinds.shape)
    return (kinds + noise).astype(np.float16)
