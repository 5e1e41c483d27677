"""Masks as they are drawn in, how good each is likely to be out. Pure.

What regions and predictions are scored with: the worst come first where somebody sorts
by it.
"""

import math
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

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

    def add(self, index: int, mask: _Mask, scores: _Floats) -> None:
        """Take in one label's mask.

        Args:
            index: of the label.
            mask: bool (Y, X), with at least one pixel.
            scores: float32 (Y, X), the label's inside of it.
        """
        inside = scores[mask]
        self._scores[index] = inside.mean(dtype=np.float64)
        self._best[index] = inside.max()
        shown = self._shown(mask)
        self._label_map[shown] = index
        if not self._is_exclusive:
            self._alone[index] = self._estimate()[index]
            self._label_map[shown] = -1

    def ious_01(self) -> _Floats:
        """The IoU that each label's mask is expected to have: float32 (L,)."""
        return self._estimate() if self._is_exclusive else self._alone

    def _shown(self, mask: _Mask) -> _Mask:
        """The mask on the pixels that are looked at, on one of them at least."""
        shown = mask[:: self._step, :: self._step]
        if shown.any():
            return shown
        row, column = np.unravel_index(int(mask.argmax()), mask.shape)
        shown = shown.copy()
        shown[row // self._step, column // self._step] = True
        return shown

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
