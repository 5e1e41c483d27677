"""Masks against the truth: intersection over union, VOC's way. Pure; numpy only.

Pixels are counted over the whole set, per class, background being class 0;
mIoU is the mean over the classes that occur in truth or prediction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segmenter.values import Segmentation

IGNORED = 255
"""Truth value of pixels that do not count (VOC's object outlines)."""


class IouCounts:
    """Running pixel counts per class."""

    def __init__(self, n_classes: int) -> None:
        """Start at zero; `n_classes` counts the background."""
        self._confusion = np.zeros((n_classes, n_classes), np.int64)

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one image: two (Y, X) maps of class indices.

        Raises:
            ValueError: if the sizes differ, or a class is none of the list.
        """
        if truth.shape != predicted.shape:
            raise ValueError(
                f"The truth is {truth.shape} pixels and the prediction "
                f"{predicted.shape}; they must be of one size."
            )
        counted = truth != IGNORED
        n_classes = len(self._confusion)
        for name, numbers in (("truth", truth[counted]), ("prediction", predicted)):
            if numbers.size and not 0 <= numbers.min() <= numbers.max() < n_classes:
                raise ValueError(
                    f"The {name} holds class {numbers.max()}; classes are 0 to "
                    f"{n_classes - 1}."
                )
        pairs = truth[counted].astype(np.int64) * n_classes + predicted[counted]
        counts = np.bincount(pairs, minlength=n_classes**2)
        self._confusion += counts.reshape(n_classes, n_classes)

    def per_class(self) -> NDArray[np.float64]:
        """IoU of each class, NaN for one that never occurred."""
        hits = np.diag(self._confusion)
        union = self._confusion.sum(axis=0) + self._confusion.sum(axis=1) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def mean(self) -> float:
        """The mean over the classes that occurred, 0 when none did."""
        found = self.per_class()
        return float(np.nanmean(found)) if not np.isnan(found).all() else 0.0


def to_class_map(
    segmentation: Segmentation, class_names: Sequence[str]
) -> NDArray[np.uint8]:
    """A segmentation in a class list's numbering: uint8 (Y, X), 0 is background.

    Raises:
        ValueError: if a label is not in the list.
    """
    numbers = [0, *(1 + class_names.index(label) for label in segmentation.labels)]
    return np.array(numbers, np.uint8)[segmentation.label_map + 1]
