"""Masks as they are drawn in, how good each is likely to be out. Pure.

What regions and predictions are scored with: the worst come first where somebody sorts
by it.
"""

import math
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from backend.regions.components import Part
from segmenter import ScoreMaps, Segmentation, estimate_ious

_MOST_PIXELS: Final = 1 << 20
_Mask = NDArray[np.bool_]
_Floats = NDArray[np.float32]


class Estimates:
    """Gathers the masks of one image, one after the other, and none of them for long.

    Args:
        maps: of the labels that the masks are of.
        overlap: whether masks may overlap; each is then judged alone.
    """

    def __init__(
        self, maps: ScoreMaps, overlap: Literal["exclusive", "independent"]
    ) -> None:
        rows, columns = maps.size_yx
        # Of a large picture some pixels are enough, and all of them much memory.
        self._step = math.ceil(math.sqrt(rows * columns / _MOST_PIXELS))
        size_yx = -(-rows // self._step), -(-columns // self._step)
        self._maps = replace(maps, size_yx=size_yx)
        self._is_exclusive = overlap == "exclusive"
        self._label_map = np.full(size_yx, -1, np.int16)
        self._scores = np.zeros(len(maps.labels), np.float32)
        self._best = np.zeros(len(maps.labels), np.float32)
        self._alone = np.zeros(len(maps.labels), np.float32)

    def add(self, index: int, mask: Part, scores: _Floats) -> None:
        """Take in one label's mask.

        Args:
            index: of the label.
            mask: of at least one pixel.
            scores: float32, the label's inside of it, of the pixels of its box.
        """
        inside = scores[mask.pixels]
        self._scores[index] = inside.mean(dtype=np.float64)
        self._best[index] = inside.max()
        rows, columns, shown = self._shown(mask)
        label_map = self._label_map[rows, columns]
        label_map[shown] = index
        if not self._is_exclusive:
            self._alone[index] = self._estimate()[index]
            label_map[shown] = -1

    def ious_01(self) -> _Floats:
        """The IoU that each label's mask is expected to have: float32 (L,)."""
        return self._estimate() if self._is_exclusive else self._alone

    def _shown(self, mask: Part) -> tuple[slice, slice, _Mask]:
        """Where, and which, of the pixels that are looked at are the mask's."""
        step = self._step
        top, left, bottom, right = mask.box_yxyx
        shown = mask.pixels[-top % step :: step, -left % step :: step]
        if shown.any():
            rows, columns = (
                slice(-(-first // step), -(-end // step))
                for first, end in ((top, bottom), (left, right))
            )
            return rows, columns, shown
        # One at least.
        down, right_of = divmod(int(mask.pixels.argmax()), mask.pixels.shape[1])
        row, column = (top + down) // step, (left + right_of) // step
        one = np.ones((1, 1), np.bool_)
        return slice(row, row + 1), slice(column, column + 1), one

    def _estimate(self) -> _Floats:
        found = estimate_ious(
            self._maps,
            Segmentation(
                labels=self._maps.labels,
                label_map=self._label_map,
                scores=self._scores,
                presence=self._maps.presence,
                best=self._best,
            ),
        )
        return np.clip(np.nan_to_num(found), 0, 1).astype(np.float32)
