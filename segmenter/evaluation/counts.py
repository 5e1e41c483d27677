"""Masks against the truth: intersection over union, VOC's way. Pure; numpy only.

Pixels are counted over the whole set, per class, background being class 0;
mIoU is the mean over the classes that occur in truth or prediction.

Both counts are sums, so the counts of a set are those of its images added up: `rows`
gives an image's as a few numbers, `add_rows` adds them to others. Axis letters:

    C  classes, background included     B  score bins     T  thresholds
    Y, X  image pixels
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.types import Segmentation

IGNORED: Final = 255
"""Truth value of pixels that do not count (VOC's object outlines)."""

THRESHOLDS: Final = tuple(round(0.02 * step, 2) for step in range(1, 50))
"""What a sweep tries: 0.02 to 0.98."""

Rows = list[list[int]]
"""Counts that are not 0, each behind the indices it stands at."""

# As `cut_masks` compares: scores of float32 with thresholds of float32.
_EDGES: Final = np.array(THRESHOLDS, np.float32)


class IouCounts:
    """Running pixel counts of each class of the truth, by predicted class."""

    def __init__(self, n_classes: int) -> None:
        """Start at zero; `n_classes` counts the background."""
        self._confusion = np.zeros((n_classes, n_classes), np.int64)

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one image: two (Y, X) maps of class indices.

        Raises:
            ValueError: if the sizes differ, or a class is none of the list.
        """
        n_classes = len(self._confusion)
        _check(truth, predicted, n_classes)
        counted = truth != IGNORED
        pairs = truth[counted].astype(np.int64) * n_classes + predicted[counted]
        counts = np.bincount(pairs, minlength=n_classes**2)
        self._confusion += counts.reshape(n_classes, n_classes)

    def rows(self) -> Rows:
        """Every count that is not 0: [truth, predicted, pixels]."""
        return to_rows(self._confusion[..., None])

    def add_rows(self, rows: Rows) -> None:
        """Add what `rows` of another count gave.

        Raises:
            IndexError: if a class is none of the list.
        """
        add_to(self._confusion[..., None], rows)

    def truth_pixels(self) -> NDArray[np.int64]:
        """int64 (C,), how many pixels of each class the truth has."""
        return np.asarray(self._confusion.sum(axis=1))

    def per_class(self) -> NDArray[np.float64]:
        """IoU of each class, NaN for one that never occurred."""
        hits = np.diag(self._confusion)
        union = self._confusion.sum(axis=0) + self._confusion.sum(axis=1) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def mean(self) -> float:
        """The mean over the classes that occurred, 0 when none did."""
        return mean_of_known(self.per_class())


class SweepCounts:
    """Running counts from which mIoU follows at every one of `THRESHOLDS`.

    A pixel falls into the bin of the number of thresholds that its score passes. Of
    the pixels that a class wins, in each bin, three numbers tell all that IoU asks:
    how many there are, how many are that class in truth, and how many background.
    """

    def __init__(self, n_classes: int) -> None:
        """Start at zero; `n_classes` counts the background."""
        # (C, B, 3), the three numbers last.
        self._won = np.zeros((n_classes, len(THRESHOLDS) + 1, 3), np.int64)

    def add(
        self,
        truth: NDArray[np.integer],
        winners: NDArray[np.integer],
        scores: NDArray[np.float32],
    ) -> None:
        """Count one image.

        Args:
            truth: (Y, X), class indices.
            winners: (Y, X), the best class of each pixel before any threshold, 0
                where there is none.
            scores: (Y, X) in [0, 1], of the winner.

        Raises:
            ValueError: if the sizes differ, or a class is none of the list.
        """
        n_classes, n_bins, _ = self._won.shape
        _check(truth, winners, n_classes)
        counted = truth != IGNORED
        truth, winners = truth[counted], winners[counted].astype(np.int64)
        indices = winners * n_bins + np.searchsorted(_EDGES, scores[counted])
        for number, chosen in enumerate((truth >= 0, truth == winners, truth == 0)):
            counts = np.bincount(indices[chosen], minlength=n_classes * n_bins)
            self._won[..., number] += counts.reshape(n_classes, n_bins)

    def rows(self) -> Rows:
        """Bins that are not empty: [winner, bin, pixels, right, background]."""
        return to_rows(self._won)

    def add_rows(self, rows: Rows) -> None:
        """Add what `rows` of another count gave.

        Raises:
            IndexError: if a class or a bin is none of the list.
        """
        add_to(self._won, rows)

    def means(self, truth_pixels: NDArray[np.int64]) -> NDArray[np.float64]:
        """The mIoU at each threshold, as `IouCounts.mean` has it: float64 (T,).

        Args:
            truth_pixels: int64 (C,), `IouCounts.truth_pixels` of the same images.
        """
        # What passes threshold t lies in the bins above number t.
        above = self._won[:, ::-1].cumsum(axis=1)[:, -2::-1]  # (C, T, 3)
        claimed, hits, taken = (above[..., number].copy() for number in range(3))
        # Background is what no class claims; winner 0 claims nothing ever.
        claimed[0] = truth_pixels.sum() - claimed[1:].sum(axis=0)
        hits[0] = truth_pixels[0] - taken[1:].sum(axis=0)
        union = claimed + truth_pixels[:, None] - hits
        found = np.where(union > 0, hits / np.maximum(union, 1), np.nan)
        return np.array([mean_of_known(column) for column in found.T])


def mean_of_known(values: NDArray[np.float64]) -> float:
    """The mean of what is not NaN, 0 when all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def to_class_map(
    segmentation: Segmentation, class_names: Sequence[str]
) -> NDArray[np.uint8]:
    """A segmentation in a class list's numbering: uint8 (Y, X), 0 is background.

    Raises:
        ValueError: if a label is not in the list.
    """
    numbers = [0, *(1 + class_names.index(label) for label in segmentation.labels)]
    return np.array(numbers, np.uint8)[segmentation.label_map + 1]


def _check(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> None:
    if truth.shape != predicted.shape:
        raise ValueError(
            f"The truth is {truth.shape} pixels and the prediction "
            f"{predicted.shape}; they must be of one size."
        )
    counted = truth[truth != IGNORED]
    for name, numbers in (("truth", counted), ("prediction", predicted)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < n_classes:
            raise ValueError(
                f"The {name} holds class {numbers.max()}; classes are 0 to "
                f"{n_classes - 1}."
            )


def to_rows(counts: NDArray[np.int64]) -> Rows:
    """(I, ..., K) to one row [i, ..., K numbers] for each index that is not all 0."""
    indices = np.argwhere(counts.any(axis=-1))
    rows: Rows = np.hstack([indices, counts[tuple(indices.T)]]).tolist()
    return rows


def add_to(counts: NDArray[np.int64], rows: Rows) -> None:
    """What `to_rows` gave, added in place.

    Raises:
        IndexError: if an index is none of the counts'.
    """
    if rows:
        table = np.array(rows, np.int64)
        n_indices = counts.ndim - 1
        np.add.at(counts, tuple(table[:, :n_indices].T), table[:, n_indices:])
