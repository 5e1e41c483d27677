"""The cells of one image as heads see them, each group on the grid it was kept on.

Sums and products of all numbers of a cell are taken without enlarging the coarse
groups: enlarging is linear. Axis letters:

    D  numbers a cell, of all groups     n  cells of the fine grid, row-major
    L  labels or heads
"""

from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segmenter.layer_grid import TOTAL_WIDTH, WIDTHS, enlargements, unpack_groups

_Floats = NDArray[np.float32]

_LEAST_SPREAD: Final = np.float32(1e-6)
_SLICES: Final = [
    slice(start, stop) for start, stop in pairwise(accumulate(WIDTHS, initial=0))
]


class Cells:
    """One image's cells."""

    def __init__(self, layers: NDArray[Any]) -> None:
        """Take `ScoreMaps.layers`: (E, v, u); what is no number counts as 0.

        Raises:
            ValueError: see `unpack_groups`.
        """
        self.grid_yx: Final = (layers.shape[1], layers.shape[2])
        if not np.isfinite(layers).all():  # ten times as quick as what it avoids
            layers = np.nan_to_num(layers, posinf=0, neginf=0)
        self._groups = unpack_groups(layers)

    @property
    def count(self) -> int:
        """N."""
        return self.grid_yx[0] * self.grid_yx[1]

    def directions(self) -> _Floats:
        """Where each cell differs from the mean of all: float32 (D', v, u).

        Of the finer groups, each with the same say, in numbers of equal spread.
        """
        found = []
        finer = zip(self._groups, _enlargements(self.grid_yx), strict=True)
        for group, enlarge in list(finer)[:-1]:
            values = _enlarged(group, enlarge)
            values = values - values.mean(axis=1, keepdims=True)
            spread = np.sqrt((values**2).mean(axis=1, keepdims=True))
            values /= np.maximum(spread, _LEAST_SPREAD)
            values /= np.maximum(np.linalg.norm(values, axis=0), _LEAST_SPREAD)
            found.append(values)
        return np.asarray(np.concatenate(found)).reshape(-1, *self.grid_yx)

    def sums(self, weights: _Floats) -> _Floats:
        """Weighted sums over cells: (L, n) to float32 (L, D)."""
        return np.concatenate(
            [
                _gathered(weights, enlarge) @ group.T
                for group, enlarge in zip(
                    self._groups, _enlargements(self.grid_yx), strict=True
                )
            ],
            axis=1,
        )

    def products(self) -> _Floats:
        """Sum over cells of each number times each other: float32 (D, D)."""
        found = np.empty((TOTAL_WIDTH, TOTAL_WIDTH), np.float32)
        overlaps = _overlaps(self.grid_yx)
        for i, first in enumerate(self._groups):
            for j, second in enumerate(self._groups[: i + 1]):
                # The finer group has fewer numbers, and is brought to the coarser.
                block = first @ _gathered(second, overlaps[j][i]).T
                found[_SLICES[i], _SLICES[j]] = block
                found[_SLICES[j], _SLICES[i]] = block.T
        return found

    def scores(self, directions: _Floats) -> _Floats:
        """What each head says of each cell: (L, D) to float32 (L, v, u)."""
        found = sum(
            _enlarged(directions[:, own] @ group, enlarge)
            for own, group, enlarge in zip(
                _SLICES, self._groups, _enlargements(self.grid_yx), strict=True
            )
        )
        return np.asarray(found, np.float32).reshape(-1, *self.grid_yx)


def _enlarged(values: _Floats, enlargement: _Floats | None) -> _Floats:
    """Of the cells of a group's grid those of the fine one: (k, n_g) to (k, n)."""
    return values if enlargement is None else values @ enlargement.T


def _gathered(weights: _Floats, enlargement: _Floats | None) -> _Floats:
    """What weights of fine cells make of a group's cells: (k, n) to (k, n_g)."""
    return weights if enlargement is None else weights @ enlargement


@lru_cache(maxsize=16)
def _enlargements(grid_yx: tuple[int, int]) -> list[_Floats | None]:
    """From each group's grid to the fine one's: (n, n_g); None is the identity."""
    return [None, *enlargements(grid_yx)[1:]]


@lru_cache(maxsize=16)
def _overlaps(grid_yx: tuple[int, int]) -> list[list[_Floats | None]]:
    """Products of two groups' enlargements: (n_first, n_second)."""
    ups = _enlargements(grid_yx)
    return [
        [second if first is None else _gathered(first.T, second) for second in ups]
        for first in ups
    ]
