"""Strokes of the editor's brush in, the alpha that they leave out. Pure.

A draft keeps what a person painted or erased as strokes (`touches`) beside the mask
that they change. The editor burns them in when it submits: each is a line with round
ends and corners on a canvas of the picture's size, drawn over what is there
("source-over") or taken from it ("destination-out").
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadMask

_Alpha = NDArray[np.float32]

# Longest way of all strokes of a region, in segments: what a person paints in an hour.
_MOST_SEGMENTS: Final = 100_000
# Of the boxes around their segments, taken together: seconds of work.
_MOST_PIXELS: Final = 500_000_000
# Beyond it a coordinate is none that a person could reach.
_FARTHEST_PERCENT: Final = 1e4


def draw_strokes(
    alpha: NDArray[np.uint8], touches: object, size_yx: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw strokes over a mask as the editor will.

    Args:
        alpha: uint8 (Y, X), of the mask below them.
        touches: as a draft has them: `type` "add" or "eraser", `relativePoints` (x and
            y in turn, percent of the picture), `relativeStrokeWidth` (percent of its
            width).
        size_yx: (rows, columns) of the picture.

    Returns:
        uint8 (Y, X). Browsers approximate round ends in ways of their own: seen with
        Chromium, one of a hundred pixels of a stroke's mask differs, on its edge.

    Raises:
        BadMask: if there is something else than strokes.
    """
    canvas = alpha.astype(np.float32) / 255
    segments, pixels = 0, 0.0
    for is_eraser, points, width_px in _strokes(touches, size_yx):
        segments += len(points)
        pixels += _work(points, width_px, size_yx)
        if segments > _MOST_SEGMENTS or pixels > _MOST_PIXELS:
            raise BadMask(
                "The region has more strokes, or wider ones, than are drawn here. "
                "Submit the annotation, which burns them in."
            )
        (top, bottom), (near, far) = _reach(points, width_px / 2, size_yx)
        if top >= bottom or near >= far:
            continue
        covered = _covered(points, width_px / 2, (top, near), (bottom, far))
        below = canvas[top:bottom, near:far]
        below *= 1 - covered
        if not is_eraser:
            below += covered
        # The canvas has whole levels.
        below[:] = np.rint(below * 255) / 255
    return np.rint(canvas * 255).astype(np.uint8)


def _strokes(
    touches: object, size_yx: tuple[int, int]
) -> Iterator[tuple[bool, NDArray[np.float64], float]]:
    """Whether a stroke erases, its points (x, y) and its width, in pixels."""
    rows, columns = size_yx
    for touch in touches if isinstance(touches, list) else []:
        if not isinstance(touch, Mapping):
            raise BadMask(f"A stroke is a {type(touch).__name__}; strokes are objects.")
        flat, width = touch.get("relativePoints"), touch.get("relativeStrokeWidth", 25)
        try:
            points = np.array(flat, np.float64).reshape(-1, 2)
            width_px = float(width) / 100 * columns
        except (TypeError, ValueError) as error:
            raise BadMask(f"A stroke is not one of numbers ({error}).") from error
        reach = np.abs(points).max(initial=0)
        if not (
            reach <= _FARTHEST_PERCENT and width_px >= 0 and math.isfinite(width_px)
        ):
            raise BadMask("A stroke leaves the picture by far. Draw the region anew.")
        if len(points) and width_px:
            yield (
                touch.get("type") == "eraser",
                points * (columns, rows) / 100,
                width_px,
            )


def _work(
    points: NDArray[np.float64], width_px: float, size_yx: tuple[int, int]
) -> float:
    """Pixels that are looked at to draw a stroke."""
    sides = np.abs(np.diff(points, axis=0, append=points[-1:])) + width_px + 2
    columns, rows = np.minimum(sides, size_yx[::-1]).T
    return float((rows * columns).sum())


def _reach(
    points: NDArray[np.float64], radius_px: float, size_yx: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns that a stroke may touch, from and to."""
    low = np.floor(points.min(axis=0) - radius_px - 1).astype(int)
    high = np.ceil(points.max(axis=0) + radius_px + 1).astype(int)
    (left, top), (right, bottom) = low, high
    rows, columns = size_yx
    return (max(top, 0), min(bottom, rows)), (max(left, 0), min(right, columns))


def _covered(
    points: NDArray[np.float64],
    radius_px: float,
    start_yx: tuple[int, int],
    end_yx: tuple[int, int],
) -> _Alpha:
    """Share of each pixel that a stroke covers: float32 in [0, 1].

    From the distance of its centre, which is the share to a percent or two where the
    edge is straight across the pixel.
    """
    away = np.full(np.subtract(end_yx, start_yx), np.inf, np.float32)
    ends = np.concatenate([points[1:], points[-1:]])
    for first, last in zip(points - start_yx[::-1], ends - start_yx[::-1], strict=True):
        pair = np.stack([first, last])
        rows, columns = _reach(pair, radius_px, away.shape)
        if rows[0] < rows[1] and columns[0] < columns[1]:
            box = (slice(*rows), slice(*columns))
            away[box] = np.minimum(away[box], _distance(first, last, rows, columns))
    covered = radius_px + 0.5 - away
    # A line that is thinner than a pixel covers less of it.
    return np.asarray(np.clip(covered, 0, min(1.0, 2 * radius_px)), np.float32)


def _distance(
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> _Alpha:
    """From the centre of each pixel to the line between two points."""
    x = np.arange(*columns, dtype=np.float32)[None, :] + np.float32(0.5 - first[0])
    y = np.arange(*rows, dtype=np.float32)[:, None] + np.float32(0.5 - first[1])
    along_x, along_y = (last - first).astype(np.float32)
    length = along_x**2 + along_y**2
    if length:
        share = np.clip((x * along_x + y * along_y) / length, 0, 1)
        x, y = x - share * along_x, y - share * along_y
    away: _Alpha = np.hypot(x, y)
    return away
