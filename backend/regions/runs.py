"""A mask in, its runs and which of them hang together out.

A run is as much of a row as has one value. A mask of a large picture has far fewer runs
than pixels, so that what is connected is found without a number for every pixel. Pure.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

# Looked at together: they stay in the processor's cache.
_STRIP_PX: Final = 1 << 18

_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Runs of one value, in reading order.

    Attributes:
        starts: int64 (R,), first pixel of each, counted row by row.
        ends: the pixel after its last, which is of the same row.
        size_yx: (rows, columns) of the mask.
    """

    starts: _Ints
    ends: _Ints
    size_yx: tuple[int, int]

    @classmethod
    def both(cls, mask: _Bools) -> tuple[Self, Self]:
        """Those of False and those of True of a mask, bool (Y, X), contiguous."""
        starts = _starts(mask)
        ends = np.append(starts[1:], mask.size)
        is_on = mask.reshape(-1)[starts]
        size_yx = (mask.shape[0], mask.shape[1])
        off, on = (
            cls(starts=starts[which], ends=ends[which], size_yx=size_yx)
            for which in (~is_on, is_on)
        )
        return off, on

    @property
    def lengths(self) -> _Ints:
        """Pixels of each: int64 (R,)."""
        return self.ends - self.starts

    def pieces(self, *, with_corners: bool) -> _Ints:
        """Number of the connected piece that each run is of, from 0: int64 (R,).

        Args:
            with_corners: whether pixels that touch at a corner are connected.
        """
        upper, lower = self._touching(int(with_corners))
        roots = np.arange(self.starts.size)
        while upper.size:
            pairs = np.sort(roots[np.stack([upper, lower])], axis=0)
            apart = pairs[0] != pairs[1]
            upper, lower = upper[apart], lower[apart]
            # The smaller number wins: every piece with a smaller neighbour is joined
            # to one, and so at most half of those that have any is left each time.
            np.minimum.at(roots, pairs[1][apart], pairs[0][apart])
            _shorten(roots)
        is_root = roots == np.arange(roots.size)
        return np.asarray((is_root.cumsum() - 1)[roots], np.int64)

    def pixels(self, which: _Bools) -> _Ints:
        """The pixels of these runs, counted row by row: int64."""
        lengths: _Ints = self.lengths[which]
        firsts = self.starts[which] - (lengths.cumsum() - lengths)
        return np.asarray(np.arange(lengths.sum()) + firsts.repeat(lengths), np.int64)

    def at_edge(self) -> _Bools:
        """Whether each touches the edge of the mask: bool (R,)."""
        rows, columns = self.size_yx
        last_row = (rows - 1) * columns
        return np.asarray(
            (self.starts % columns == 0)
            | (self.ends % columns == 0)
            | (self.starts < columns)
            | (self.starts >= last_row)
        )

    def _touching(self, reach_px: int) -> tuple[_Ints, _Ints]:
        """Pairs of runs, each with one of the next row that it touches."""
        columns = self.size_yx[1]
        row = self.starts - self.starts % columns + columns
        left = np.maximum(self.starts + columns - reach_px, row)
        right = np.minimum(self.ends + columns + reach_px, row + columns)
        first = np.searchsorted(self.ends, left, side="right")
        end = np.searchsorted(self.starts, right, side="left")
        counts = np.maximum(end - first, 0)
        upper = np.arange(self.starts.size).repeat(counts)
        lower = np.arange(counts.sum()) - (counts.cumsum() - counts - first).repeat(
            counts
        )
        return upper, lower


def _starts(mask: _Bools) -> _Ints:
    """Where runs of either value start, in strips of rows: int64."""
    rows, columns = mask.shape
    step = max(1, _STRIP_PX // columns)
    begins = np.ones((min(step, rows), columns), np.bool_)
    found = []
    for top in range(0, rows, step):
        strip = mask[top : top + step]
        new = begins[: len(strip)]
        np.not_equal(strip[:, 1:], strip[:, :-1], out=new[:, 1:])
        found.append(np.flatnonzero(new) + top * columns)
    return np.concatenate(found)


def _shorten(roots: _Ints) -> None:
    """Have each point to the end of its chain."""
    while True:
        further = roots[roots]
        if np.array_equal(further, roots):
            return
        roots[:] = further
