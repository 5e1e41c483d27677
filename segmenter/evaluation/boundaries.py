"""How near the outlines of masks run to the true ones: boundary F-score. Pure.

After Csurka et al. (BMVC 2013) and DAVIS (Perazzi et al., CVPR 2016): a boundary pixel
is hit when the other boundary passes within a tolerance that grows with the image.
Counted over the whole set, per class, like IoU; the background is no class here. The
picture's own border is no edge: a mask that leaves the picture there does not end.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.evaluation.counts import IGNORED, Rows, add_to, mean_of_known, to_rows

# Share of the image's diagonal, as in Csurka et al. and near DAVIS's 0.8 %.
_TOLERANCE: Final = 0.0075


class BoundaryCounts:
    """Running counts of boundary pixels per class."""

    def __init__(self, n_classes: int) -> None:
        """Start at zero; `n_classes` counts the background."""
        # Per class: predicted hits, predicted, true hits, true.
        self._counts = np.zeros((n_classes, 4), np.int64)

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one image: two (Y, X) maps of class indices of one size.

        A predicted boundary pixel where the truth is ignored is no miss. It may be a
        hit: VOC ignores the very outlines, where a good boundary runs.
        """
        ignored = truth == IGNORED
        tolerance_px = max(1.0, _TOLERANCE * math.hypot(*truth.shape))
        for number in np.union1d(truth[~ignored], predicted):
            if number == 0:
                continue
            true = boundary(truth == number)
            drawn = boundary(predicted == number)
            near_true = _within(true, tolerance_px)
            hits = np.count_nonzero(drawn & near_true)
            misses = np.count_nonzero(drawn & ~near_true & ~ignored)
            found = np.count_nonzero(true & _within(drawn, tolerance_px))
            self._counts[number] += (hits, hits + misses, found, true.sum())

    def rows(self) -> Rows:
        """Per class that has a boundary: [class, hits, predicted, found, true]."""
        return to_rows(self._counts)

    def add_rows(self, rows: Rows) -> None:
        """Add what `rows` of another count gave.

        Raises:
            IndexError: if a class is none of the list.
        """
        add_to(self._counts, rows)

    def per_class(self) -> NDArray[np.float64]:
        """F of each class, float64 (C,): NaN for background and what had no edge."""
        hits, predicted, found, true = self._counts.T
        precision = hits / np.maximum(predicted, 1)
        recall = found / np.maximum(true, 1)
        both = precision + recall
        f_score = 2 * precision * recall / np.where(both > 0, both, 1)
        occurred = (predicted + true > 0) & (np.arange(len(hits)) > 0)
        return np.where(occurred, f_score, np.nan)

    def mean(self) -> float:
        """The mean over the classes that occurred, 0 when none did."""
        return mean_of_known(self.per_class())


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a neighbour (of four) outside it: bool (Y, X)."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inside)


def _within(edge: NDArray[np.bool_], distance_px: float) -> NDArray[np.bool_]:
    """Pixels that lie within a distance of an edge: bool (Y, X)."""
    if not edge.any():
        return edge
    distances = cv2.distanceTransform(
        (~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return np.asarray(distances <= distance_px)
