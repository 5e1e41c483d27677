"""Examples in, directions that tell a label's cells from others out.

Fisher's discriminant: where the mean of a label's cells lies from that of all others,
seen through how cells vary at all. How they vary all labels share, so that few
corrected masks are enough for a direction. Axis letters:

    N  examples     L  labels     D  numbers a cell     n  cells of an image
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.cells import Cells
from segmenter.heads.examples import Example
from segmenter.layer_grid import TOTAL_WIDTH

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

# What is added to each variance, as a share of their mean.
_RIDGE_01: Final = 0.1
# Parts of the examples whose variance is left out in turn.
_FOLDS: Final = 10
# How cells vary is known well enough by so many images.
_MOST_VARIED: Final = 400
# Scores of a label's mean cell and of the others': shares of 0.98 and 0.02.
_AT_MEANS: Final = 4.0
# Of `Example.covers`.
_FULL: Final = np.float32(255)
# A sum over fewer cells is what rounding has left.
_LEAST_CELLS: Final = 0.5


class Moments:
    """Sums over the cells of examples, from which any one of them can be taken."""

    def __init__(self, examples: Sequence[Example], labels: Sequence[str]) -> None:
        """Sum up.

        Args:
            examples: N of them, in an order that does not depend on chance.
            labels: L names.
        """
        rows = {label: row for row, label in enumerate(labels)}
        self._n_folds: Final = min(_FOLDS, max(len(examples), 1))
        self._products = np.zeros((self._n_folds, TOTAL_WIDTH, TOTAL_WIDTH))
        self._varied = np.zeros((self._n_folds, TOTAL_WIDTH + 1))
        # Of each sum over cells the last number is the count of cells.
        self._asked = np.zeros((len(examples), len(labels)), np.float32)
        self._all = np.zeros((len(examples), TOTAL_WIDTH + 1), np.float32)
        self._inside: list[dict[int, _Floats]] = []
        for number, example in enumerate(examples):
            cells = Cells(example.values)
            self._asked[number, [rows[label] for label in example.labels]] = 1
            shown = np.flatnonzero(example.shown)
            covers = example.covers[shown].reshape(len(shown), cells.count)
            everywhere = np.ones((1, cells.count), np.float32)
            sums = _sums(cells, np.vstack([everywhere, covers / _FULL]))
            self._all[number] = sums[0]
            self._inside.append(
                {
                    rows[example.labels[place]]: row
                    for place, row in zip(shown, sums[1:], strict=True)
                }
            )
            if number < _MOST_VARIED:
                self._products[number % self._n_folds] += cells.products()
                self._varied[number % self._n_folds] += sums[0]

    def directions(self) -> tuple[_Floats, _Floats]:
        """Of all examples: directions (L, D) and offsets (L,).

        Both 0 for a label that no example shows.
        """
        spread = _spread(self._products.sum(axis=0), self._varied.sum(axis=0))
        return _directions(spread, self._insides, self._everything - self._insides)

    def directions_without(
        self, left_out: Sequence[tuple[int, int]]
    ) -> tuple[_Floats, _Floats]:
        """Of all examples but one: directions (K, D) and offsets (K,).

        Args:
            left_out: K times the number of an example, and the row of a label that it
                was looked at for.
        """
        directions = np.zeros((len(left_out), TOTAL_WIDTH), np.float32)
        offsets = np.zeros(len(left_out), np.float32)
        numbers, rows = np.array(left_out, np.intp).reshape(-1, 2).T
        products, varied = self._products.sum(axis=0), self._varied.sum(axis=0)
        for fold in range(self._n_folds):
            places = np.flatnonzero(numbers % self._n_folds == fold)
            if not places.size:
                continue
            inside = self._insides[rows[places]]
            for own, place in zip(inside, places, strict=True):
                own -= self._inside[numbers[place]].get(int(rows[place]), 0)
            everything = self._everything[rows[places]] - self._all[numbers[places]]
            spread = _spread(
                products - self._products[fold], varied - self._varied[fold]
            )
            directions[places], offsets[places] = _directions(
                spread, inside, everything - inside
            )
        return directions, offsets

    @cached_property
    def _insides(self) -> _Doubles:
        """Sums over the cells that labels cover: (L, D + 1)."""
        found = np.zeros((self._asked.shape[1], TOTAL_WIDTH + 1))
        for of_example in self._inside:
            for row, own in of_example.items():
                found[row] += own
        return found

    @cached_property
    def _everything(self) -> _Doubles:
        """Sums over the cells of images in which labels were looked for: (L, D + 1)."""
        return self._asked.T.astype(np.float64) @ self._all.astype(np.float64)


def _sums(cells: Cells, weights: _Floats) -> _Floats:
    counts = weights.sum(axis=1, keepdims=True)
    return np.concatenate([cells.sums(weights), counts], axis=1)


def _spread(products: _Doubles, varied: _Doubles) -> _Doubles:
    """Variances and covariances, kept from 0: (D, D)."""
    count = max(float(varied[-1]), 1.0)
    mean = varied[:-1] / count
    spread = products / count - np.outer(mean, mean)
    ridge = _RIDGE_01 * max(float(np.trace(spread)) / len(spread), 1e-9)
    spread[np.diag_indices(len(spread))] += ridge
    return spread


def _directions(
    spread: _Doubles, inside: _Doubles, outside: _Doubles
) -> tuple[_Floats, _Floats]:
    is_known = (inside[:, -1:] > _LEAST_CELLS) & (outside[:, -1:] > _LEAST_CELLS)
    mean_inside = inside[:, :-1] / np.maximum(inside[:, -1:], _LEAST_CELLS)
    mean_outside = outside[:, :-1] / np.maximum(outside[:, -1:], _LEAST_CELLS)
    apart = np.where(is_known, mean_inside - mean_outside, 0)
    found = np.linalg.solve(spread, apart.T).T
    reach = np.maximum((apart * found).sum(axis=1, keepdims=True), 1e-9)
    found *= 2 * _AT_MEANS / reach
    offsets = -((mean_inside + mean_outside) / 2 * found).sum(axis=1)
    return found.astype(np.float32), offsets.astype(np.float32)
