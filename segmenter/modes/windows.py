"""An image's size in, the windows that the model reads it through; maps merged.

A model reads one window at a time, of about the size it was trained on. The canvas
is the image brought to the size that all windows together cover; one window that
covers it all is the published way. A block is what the model's coarsest grid
makes one cell of: windows are whole blocks, so that every grid has whole cells. Pure;
axis letters:

    n  windows     R  maps     h, w  cells of a window     H, W  cells of the canvas
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Share of a window that its neighbour covers as well.
_OVERLAP_01: Final = 0.25
# An image is not enlarged further than this to give the model more windows.
_MOST_ENLARGED: Final = 1.1
# Longest side by shortest of a window that keeps the image's shape. What is longer
# is squashed as far.
_MOST_OBLONG: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Windows on a canvas, in blocks, cells or pixels.

    Attributes:
        canvas_yx: rows and columns of the canvas.
        window_yx: of each window.
        origins_yx: first row and column of each window; together they cover the
            canvas.
    """

    canvas_yx: tuple[int, int]
    window_yx: tuple[int, int]
    origins_yx: tuple[tuple[int, int], ...]

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each window."""
        for top, left in self.origins_yx:
            yield (
                slice(top, top + self.window_yx[0]),
                slice(left, left + self.window_yx[1]),
            )

    def cut_image(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """What each window shows of an image, at the image's own resolution.

        Args:
            pixels: uint8 (Y, X, 3), the image that the canvas is of.
        """
        scale_y = pixels.shape[0] / self.canvas_yx[0]
        scale_x = pixels.shape[1] / self.canvas_yx[1]
        return [
            np.ascontiguousarray(
                pixels[
                    round(rows.start * scale_y) : max(1, round(rows.stop * scale_y)),
                    round(columns.start * scale_x) : max(
                        1, round(columns.stop * scale_x)
                    ),
                ]
            )
            for rows, columns in self.slices()
        ]

    def divided(self, factor: int) -> "Layout":
        """The same in units that are `factor` times as large."""
        return Layout(
            canvas_yx=(self.canvas_yx[0] // factor, self.canvas_yx[1] // factor),
            window_yx=(self.window_yx[0] // factor, self.window_yx[1] // factor),
            origins_yx=tuple((y // factor, x // factor) for y, x in self.origins_yx),
        )

    def scaled(self, factor: int) -> "Layout":
        """The same in units that are `factor` times as small."""
        return Layout(
            canvas_yx=(self.canvas_yx[0] * factor, self.canvas_yx[1] * factor),
            window_yx=(self.window_yx[0] * factor, self.window_yx[1] * factor),
            origins_yx=tuple((y * factor, x * factor) for y, x in self.origins_yx),
        )


def lay_out(
    size_yx: tuple[int, int],
    *,
    side_blocks: int,
    block_px: int,
    keeps_aspect: bool,
    max_windows: int,
) -> Layout:
    """Choose canvas and windows for an image.

    As many windows as show the image at its own resolution, but no more than asked
    for; of those, the arrangement with the finest canvas.

    Args:
        size_yx: rows and columns of the image, in pixels.
        side_blocks: side of the square that the model was trained on.
        block_px: pixels that a block is wide.
        keeps_aspect: let a window's shape follow the image's, at about the same
            number of blocks; else it is square.
        max_windows: at least 1.

    Returns:
        In blocks.
    """
    ranked = []
    for n_rows in range(1, max_windows + 1):
        for n_columns in range(1, max_windows // n_rows + 1):
            layout = _arrange(size_yx, (n_rows, n_columns), side_blocks, keeps_aspect)
            scales = [layout.canvas_yx[i] * block_px / size_yx[i] for i in (0, 1)]
            n_windows = n_rows * n_columns
            if n_windows == 1 or max(scales) <= _MOST_ENLARGED:
                ranked.append(((min(scales), -n_windows), layout))
    return max(ranked, key=lambda entry: entry[0])[1]


def cut_windows(maps: Tensor, layout: Layout) -> Tensor:
    """Cut a canvas into its windows: (R, H, W) to (n, R, h, w)."""
    return torch.stack([maps[..., rows, columns] for rows, columns in layout.slices()])


def merge_windows(pieces: Tensor, layout: Layout) -> Tensor:
    """Merge the windows of a canvas without seams: (n, R, h, w) to (R, H, W).

    Where windows overlap, each counts the more the farther a cell lies from its own
    edge, so that no cell is where one window ends and another takes over.
    """
    if len(pieces) == 1:
        return pieces[0]
    weight = _tent(layout.window_yx, pieces)
    total = pieces.new_zeros((pieces.shape[1], *layout.canvas_yx))
    norm = pieces.new_zeros(layout.canvas_yx)
    for piece, (rows, columns) in zip(pieces, layout.slices(), strict=True):
        total[:, rows, columns] += piece * weight
        norm[rows, columns] += weight
    return total / norm


def _tent(window_yx: tuple[int, int], like: Tensor) -> Tensor:
    """Distance of each cell to the nearest edge in each direction, multiplied."""
    rows, columns = (
        torch.minimum(cells + 0.5, side - cells - 0.5)
        for side in window_yx
        for cells in [torch.arange(side, device=like.device, dtype=like.dtype)]
    )
    return rows[:, None] * columns


def _stride(window_blocks: int) -> int:
    return max(1, round(window_blocks * (1 - _OVERLAP_01)))


def _arrange(
    size_yx: tuple[int, int],
    n_yx: tuple[int, int],
    side_blocks: int,
    keeps_aspect: bool,
) -> Layout:
    """So many windows, evenly overlapping."""
    window = (side_blocks, side_blocks)
    if keeps_aspect:
        # What a window spans of the image, overlaps included.
        spans = [
            size / (1 + (n - 1) * (1 - _OVERLAP_01))
            for size, n in zip(size_yx, n_yx, strict=True)
        ]
        ratio = min(max(spans[0] / spans[1], 1 / _MOST_OBLONG), _MOST_OBLONG)
        window = (
            max(1, round(side_blocks * math.sqrt(ratio))),
            max(1, round(side_blocks / math.sqrt(ratio))),
        )
    strides = [_stride(side) for side in window]
    return Layout(
        canvas_yx=(
            window[0] + (n_yx[0] - 1) * strides[0],
            window[1] + (n_yx[1] - 1) * strides[1],
        ),
        window_yx=window,
        origins_yx=tuple(
            (row * strides[0], column * strides[1])
            for row in range(n_yx[0])
            for column in range(n_yx[1])
        ),
    )
