"""How what a pass knew of cells lies in one array, coarse layers packed.

A layer of a quarter of the cells says as much in a quarter of the numbers, so that more
of them can be kept. Three groups, each on a grid of its own: fine, half as fine, a
quarter as fine. Pure; no torch. Axis letters:

    E  rows of the array     v, u  its grid, that of the fine group     G  groups
    D  numbers a cell, of all groups       n  cells of a grid, row-major
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WIDTHS: Final = (64, 128, 512)
"""Numbers a cell of each group; 0.3 MB in float16 on a grid of 32 x 32."""
TOTAL_WIDTH: Final = sum(WIDTHS)
"""D."""

_Floats = NDArray[np.float32]


def grids(grid_yx: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The groups' grids, of the fine group's: each half as fine, and no smaller."""
    return tuple(
        (-(-grid_yx[0] // step), -(-grid_yx[1] // step))
        for step in (1 << group for group in range(len(WIDTHS)))
    )


def pack_groups(groups: Sequence[_Floats]) -> NDArray[np.float16]:
    """Lay the groups one after the other: float16 (E, v, u).

    Args:
        groups: (WIDTHS[g], rows, columns) each, on the grids of `grids`.
    """
    grid_yx = (groups[0].shape[1], groups[0].shape[2])
    parts = []
    for group, n_rows in zip(groups, _row_counts(grid_yx), strict=True):
        rows = np.zeros(n_rows * grid_yx[0] * grid_yx[1], np.float16)
        rows[: group.size] = group.ravel()
        parts.append(rows.reshape(n_rows, *grid_yx))
    return np.concatenate(parts)


def unpack_groups(layers: NDArray[Any]) -> list[_Floats]:
    """What `pack_groups` laid down: float32 (WIDTHS[g], n) each.

    Raises:
        ValueError: if it has another number of rows.
    """
    counts = _row_counts((layers.shape[1], layers.shape[2]))
    if sum(counts) != len(layers):
        raise ValueError(
            f"Layers on {layers.shape[1]} x {layers.shape[2]} cells have {sum(counts)} "
            f"rows, and these {len(layers)}; they are of another version."
        )
    starts = np.cumsum([0, *counts])
    sizes = grids((layers.shape[1], layers.shape[2]))
    return [
        layers[start : start + count]
        .ravel()[: width * rows * columns]
        .reshape(width, rows * columns)
        .astype(np.float32)
        for start, count, width, (rows, columns) in zip(
            starts[:-1], counts, WIDTHS, sizes, strict=True
        )
    ]


@lru_cache(maxsize=16)
def enlargements(grid_yx: tuple[int, int]) -> tuple[_Floats, ...]:
    """Bilinear, from each group's grid to the fine one's: float32 (n, n_g) each."""
    return tuple(
        np.kron(_line(grid_yx[0], rows), _line(grid_yx[1], columns))
        for rows, columns in grids(grid_yx)
    )


def _line(n_fine: int, n_coarse: int) -> _Floats:
    """The same along one axis: float32 (n_fine, n_coarse)."""
    centres = (np.arange(n_fine) + 0.5) * n_coarse / n_fine
    centres = np.clip(centres, 0.5, n_coarse - 0.5)
    distance = np.abs(centres[:, None] - (np.arange(n_coarse) + 0.5))
    return np.asarray(np.maximum(0, 1 - distance), np.float32)


def _row_counts(grid_yx: tuple[int, int]) -> list[int]:
    cells = grid_yx[0] * grid_yx[1]
    return [
        -(-width * rows * columns // cells)
        for width, (rows, columns) in zip(WIDTHS, grids(grid_yx), strict=True)
    ]
