"""All clicks on an object in, its mask out. Pure."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.clicks.prior import label_level
from segmenter.errors import BadClick
from segmenter.masks import Guide
from segmenter.types import Box, Click, ScoreMaps

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]

# Longest side of the working picture.
_WORK_PX: Final = 512
# Level of what a person has painted or erased against what the maps say.
_CORRECTED: Final = 1.0
_CLICK_LEVEL: Final = 1.0
# How far a click reaches, as a share of the picture's long side, and in Lab.
_REACH_01: Final = 0.12
_REACH_LAB: Final = 14.0
_SAME_CLICK: Final = 0.05


def refine_mask(
    pixels: NDArray[np.uint8],
    *,
    clicks: Sequence[Click] = (),
    boxes: Sequence[Box] = (),
    start: _Bools | None,
    maps: ScoreMaps | None,
    label: int | None,
    threshold: float,
    presence_threshold: float,
) -> _Bools:
    """Solve all clicks and boxes on one object anew.

    Args:
        pixels: uint8 (Y, X, 3), RGB, upright.
        clicks: oldest first.
        boxes: around the object, the newest decides: without a start nothing outside
            it is the object, with one it adds what it holds.
        start: bool (Y, X), what the person sees now; None for an empty canvas.
        maps: of the image; None where the model is not to be had.
        label: index into `maps.labels` of the object's label; None for no name known.
        threshold: the background's score, as masks are cut with.
        presence_threshold: as masks are cut with.

    Returns:
        bool (Y, X); may be empty. Where no click changes anything, the start.

    Raises:
        BadClick: if a click lies outside the image, or a box holds none of it.
        ValueError: if start or maps are of another size, or there is no such label.
    """
    size_yx = (pixels.shape[0], pixels.shape[1])
    _check(size_yx, clicks, boxes, start, maps, label)
    work = _shrunk(pixels)
    work_yx = (work.shape[0], work.shape[1])
    scale_yx = (work_yx[0] / size_yx[0], work_yx[1] / size_yx[1])
    level = label_level(
        Guide(work),
        maps,
        label,
        threshold=threshold,
        presence_threshold=presence_threshold,
        size_yx=work_yx,
    )
    if start is not None:
        before = _area(start, work_yx) > 0.5
        level = np.where((level > 0) == before, level, np.where(before, 1, -1))
        level = level.astype(np.float32) * np.float32(_CORRECTED)
    was = level > 0
    for box in boxes[-1:]:
        inside = _inside(box, scale_yx, work_yx)
        level = np.where(inside, np.maximum(level, 0.1), -1 if start is None else level)
    level = level + _residual(work, level, clicks, scale_yx)
    now = level > 0
    if start is None:
        return _enlarged(level, size_yx) > 0
    changed = cv2.resize(
        (now != was).astype(np.uint8), size_yx[::-1], interpolation=cv2.INTER_NEAREST
    )
    result: _Bools = np.where(changed > 0, _enlarged(level, size_yx) > 0, start)
    for click in clicks:
        result[int(click.y), int(click.x)] = click.is_positive
    return result


def _residual(
    work: NDArray[np.uint8],
    level: _Floats,
    clicks: Sequence[Click],
    scale_yx: tuple[float, float],
) -> _Floats:
    """What the clicks change, so that each holds where it lies: float32 (Y, X)."""
    rows, columns = level.shape
    if not clicks:
        return np.zeros_like(level)
    lab = cv2.cvtColor(work.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    reach_px = np.float32(_REACH_01 * max(rows, columns))
    places, spreads = [], []
    for click in clicks:
        row = min(int(click.y * scale_yx[0]), rows - 1)
        column = min(int(click.x * scale_yx[1]), columns - 1)
        places.append((row, column))
        away = ((y - row) ** 2 + (x - column) ** 2) / (2 * reach_px**2)
        colour = ((lab - lab[row, column]) ** 2).sum(axis=2) / (2 * _REACH_LAB**2)
        spreads.append(np.exp(-away - colour))
    at = tuple(np.array(places).T)
    wanted = np.array(
        [_CLICK_LEVEL if c.is_positive else -_CLICK_LEVEL for c in clicks]
    )
    beyond = np.sign(wanted) * (level[at] - wanted) > 0
    missing = np.where(beyond, 0, wanted - level[at])
    gram = np.stack([spread[at] for spread in spreads], axis=1)
    weights = np.linalg.solve(gram + _SAME_CLICK * np.eye(len(clicks)), missing)
    return np.asarray(np.tensordot(weights, np.stack(spreads), axes=1), np.float32)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = pixels.shape[:2]
    shrink = min(1.0, _WORK_PX / max(rows, columns))
    small_yx = max(1, round(rows * shrink)), max(1, round(columns * shrink))
    small = cv2.resize(pixels, small_yx[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(*small_yx, 3)


def _area(mask: _Bools, work_yx: tuple[int, int]) -> _Floats:
    """Share of each working pixel that a mask covers."""
    small = cv2.resize(
        mask.astype(np.float32), work_yx[::-1], interpolation=cv2.INTER_AREA
    )
    return np.asarray(small, np.float32).reshape(work_yx)


def _enlarged(level: _Floats, size_yx: tuple[int, int]) -> _Floats:
    large = cv2.resize(level, size_yx[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(size_yx)


def _inside(
    box: Box, scale_yx: tuple[float, float], work_yx: tuple[int, int]
) -> _Bools:
    """The working pixels whose centres lie in a box."""
    y = (np.arange(work_yx[0]) + 0.5) / scale_yx[0]
    x = (np.arange(work_yx[1]) + 0.5) / scale_yx[1]
    rows = (y >= box.top) & (y < box.bottom)
    columns = (x >= box.left) & (x < box.right)
    return np.asarray(rows[:, None] & columns)


def _check(
    size_yx: tuple[int, int],
    clicks: Sequence[Click],
    boxes: Sequence[Box],
    start: _Bools | None,
    maps: ScoreMaps | None,
    label: int | None,
) -> None:
    rows, columns = size_yx
    for click in clicks:
        if not (0 <= click.y < rows and 0 <= click.x < columns):
            raise BadClick(
                f"A click lies at row {click.y:g} and column {click.x:g} of an image "
                f"of {rows} rows and {columns} columns. Click inside the image."
            )
    for box in boxes:
        if not (
            max(box.top, 0) < min(box.bottom, rows)
            and max(box.left, 0) < min(box.right, columns)
        ):
            raise BadClick(
                f"A box from row {box.top:g} and column {box.left:g} to row "
                f"{box.bottom:g} and column {box.right:g} holds nothing of an image of "
                f"{rows} rows and {columns} columns. Draw it over the image."
            )
    if start is not None and start.shape != size_yx:
        raise ValueError(f"The start mask is {start.shape}, the image {size_yx}.")
    if maps is not None and maps.size_yx != size_yx:
        raise ValueError(f"The maps are of {maps.size_yx}, the image is {size_yx}.")
    if label is not None and (maps is None or not 0 <= label < len(maps.labels)):
        raise ValueError(f"There is no label {label} in the maps.")
