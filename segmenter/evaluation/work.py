"""What masks save a person who would paint them: regions accepted, strokes saved. Pure.

A region is one label's mask in one image, there in truth or prediction. It is accepted
if its IoU is high enough, and is otherwise mended by the simulated brush, which is held
against painting the same region from blank. A label that the image does not show is a
region too: nothing from blank, and one stroke from the prediction, to delete it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.evaluation.brush import GOOD_IOU, iou_of, mend
from segmenter.evaluation.counts import IGNORED, Rows, add_to, to_rows

ACCEPTED_IOU: Final = (0.90, GOOD_IOU)
"""From which on a region is accepted: by a generous person, by a strict one."""


@dataclass(frozen=True, kw_only=True)
class BrushWork:
    """What the brush did in all regions.

    Attributes:
        strokes: their number.
        length_px: of their lines.
        given_up: regions that were not good after `brush.MOST_STROKES`.
    """

    strokes: int
    length_px: int
    given_up: int


@dataclass(frozen=True, kw_only=True)
class WorkSaved:
    """What masks save; shares are at most 1, None where there was nothing to judge.

    Attributes:
        regions: how many there are, in truth or prediction.
        accepted_090: the share with an IoU of 0.90 or more.
        accepted_095: the share with 0.95 or more.
        images_untouched: the share of images of which every region has 0.95 or more.
        mended: from the prediction.
        from_blank: from nothing.
    """

    regions: int
    accepted_090: float | None
    accepted_095: float | None
    images_untouched: float | None
    mended: BrushWork
    from_blank: BrushWork

    @property
    def strokes_saved(self) -> float | None:
        """Of the strokes from blank; below 0 where masks cost more than they save."""
        return _saved(self.mended.strokes, self.from_blank.strokes)

    @property
    def length_saved(self) -> float | None:
        """The same of the strokes' length."""
        return _saved(self.mended.length_px, self.from_blank.length_px)


class WorkCounts:
    """Running counts of regions and strokes per class."""

    def __init__(self, n_classes: int) -> None:
        """Start at zero; `n_classes` counts the background."""
        # Per class: regions, accepted at either IoU, then strokes, length and given up
        # of mending, and the same from blank.
        self._counts = np.zeros((n_classes, 9), np.int64)
        self._n_images = self._n_untouched = 0

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one image: two (Y, X) maps of class indices of one size."""
        counted = truth != IGNORED
        numbers = np.union1d(truth[counted], predicted[counted])
        self.add_rows(
            [
                [int(number), *_region(truth == number, predicted == number, counted)]
                for number in numbers[numbers > 0]
            ]
        )

    def rows(self) -> Rows:
        """Per class that occurs: [class, regions, accepted, accepted, strokes, ...]."""
        return to_rows(self._counts)

    def add_rows(self, rows: Rows) -> None:
        """Add what `rows` gave of one image.

        Raises:
            IndexError: if a class is none of the list.
        """
        add_to(self._counts, rows)
        self._n_images += 1
        self._n_untouched += all(row[1] == row[3] for row in rows)

    def saved(self) -> WorkSaved:
        """What has been added so far."""
        regions, generous, strict, *work = self._counts.sum(axis=0).tolist()
        return WorkSaved(
            regions=regions,
            accepted_090=generous / regions if regions else None,
            accepted_095=strict / regions if regions else None,
            images_untouched=(
                self._n_untouched / self._n_images if self._n_images else None
            ),
            mended=BrushWork(strokes=work[0], length_px=work[1], given_up=work[2]),
            from_blank=BrushWork(strokes=work[3], length_px=work[4], given_up=work[5]),
        )


def _region(
    truth: NDArray[np.bool_], drawn: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> list[int]:
    """One region's counts, as `WorkCounts` has them."""
    iou = iou_of(drawn & counted, truth & counted)
    counts = [1, *(int(iou >= enough) for enough in ACCEPTED_IOU)]
    for start in (drawn, np.zeros_like(drawn)):
        done = mend(start, truth, counted=counted)
        counts += [done.n_strokes, done.length_px, int(not done.is_good)]
    return counts


def _saved(part: int, whole: int) -> float | None:
    return 1 - part / whole if whole else None
