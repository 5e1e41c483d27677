"""Clicks on an image in, where they lie on its working picture out. Pure.

Axis letters: N clicks; Y, X working pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.types import Click

_Floats = NDArray[np.float32]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedClicks:
    """Clicks on a working picture.

    Attributes:
        places_01: (y, x) of each, in [0, 1] of the image.
        at: rows and columns of the working pixels that they lie in, int (N,) each.
        signs: float32 (N,), 1 or -1.
    """

    places_01: tuple[tuple[float, float], ...]
    at: tuple[NDArray[np.intp], NDArray[np.intp]]
    signs: _Floats

    def __len__(self) -> int:
        """How many."""
        return len(self.signs)

    def hits(self, work_yx: tuple[int, int]) -> _Bools:
        """The working pixels with a positive click: bool (Y, X)."""
        hits = np.zeros(work_yx, np.bool_)
        hits[self.at] = self.signs > 0
        return hits

    def begins_with(self, other: "PlacedClicks") -> bool:
        """Whether the oldest of these are those."""
        count = len(other)
        return self.places_01[:count] == other.places_01 and np.array_equal(
            self.signs[:count], other.signs
        )

    def only(self, which: NDArray[np.intp]) -> "PlacedClicks":
        """Those with these numbers."""
        return PlacedClicks(
            places_01=tuple(self.places_01[index] for index in which),
            at=(self.at[0][which], self.at[1][which]),
            signs=self.signs[which],
        )

    def first(self, count: int) -> "PlacedClicks":
        """The oldest so many."""
        return self.only(np.arange(count))


NO_CLICKS: Final = PlacedClicks(
    places_01=(),
    at=(np.zeros(0, np.intp), np.zeros(0, np.intp)),
    signs=np.zeros(0, np.float32),
)


def place_clicks(
    clicks: Sequence[Click], size_yx: tuple[int, int], work_yx: tuple[int, int]
) -> PlacedClicks:
    """Find clicks on an image of one size on its working picture of another."""
    places_01 = tuple((c.y / size_yx[0], c.x / size_yx[1]) for c in clicks)
    rows, columns = (
        np.array([int(place[i] * work_yx[i]) for place in places_01], np.intp).clip(
            0, work_yx[i] - 1
        )
        for i in (0, 1)
    )
    return PlacedClicks(
        places_01=places_01,
        at=(rows, columns),
        signs=np.array([1 if c.is_positive else -1 for c in clicks], np.float32),
    )


def falloff(squares: _Floats, reach_px: float) -> _Floats:
    """A Gaussian of squared distances."""
    return np.asarray(np.exp(squares / np.float32(-2 * reach_px**2)), np.float32)


def distance_to_edge(level: _Floats, row: int, column: int, sign: float) -> float:
    """Pixels from a click on what is wrong to where the mask ends or begins.

    0 for a click on what is right already; large where there is no edge.
    """
    wrong = level * sign <= 0
    if not wrong[row, column]:
        return 0.0
    if wrong.all():
        return float(sum(level.shape))
    distances = cv2.distanceTransform(wrong.astype(np.uint8), cv2.DIST_L2, 3)
    return float(distances[row, column])
