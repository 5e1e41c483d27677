"""A simulated annotator: the next click at the centre of the largest error.

The custom of the field (RITM, arXiv 2102.06583): of all wrongly painted or unpainted
pixels, the one farthest from its error's border is clicked, at least 5 times, until
the mask is good enough or 20 clicks are made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter import Click

MOST_CLICKS: Final = 20
_LEAST_CLICKS: Final = 5

_Bools = NDArray[np.bool_]
Refine = Callable[[Sequence[Click]], _Bools]


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """One object, clicked until its mask was good, and no less than 5 times.

    Attributes:
        ious: of the start, then after each click.
        clicks: in their order.
    """

    ious: tuple[float, ...]
    clicks: tuple[Click, ...]

    def needed(self, iou: float) -> int:
        """Clicks until the mask was so good; the cap where it never was."""
        reached = [n for n, found in enumerate(self.ious) if found >= iou]
        return reached[0] if reached else MOST_CLICKS

    def iou_after(self, n_clicks: int) -> float:
        """IoU after so many clicks, at most 5."""
        return self.ious[min(n_clicks, len(self.ious) - 1)]


def annotate(
    truth: _Bools, start: _Bools | None, refine: Refine, *, until: float
) -> Session:
    """Click until the mask has this IoU, or the cap.

    Args:
        truth: bool (Y, X), the object.
        start: what is there before the first click.
        refine: all clicks so far to a mask.
        until: IoU at which the annotator is content.
    """
    mask = np.zeros_like(truth) if start is None else start
    ious, clicks = [iou_of(mask, truth)], []
    while len(clicks) < MOST_CLICKS and (
        len(clicks) < _LEAST_CLICKS or max(ious) < until
    ):
        if ious[-1] == 1:
            break
        clicks.append(next_click(mask, truth))
        mask = refine(clicks)
        ious.append(iou_of(mask, truth))
    return Session(ious=tuple(ious), clicks=tuple(clicks))


def next_click(mask: _Bools, truth: _Bools) -> Click:
    """The wrong pixel farthest from its error's border, the picture's edge included."""
    missing, surplus = _depths(truth & ~mask), _depths(mask & ~truth)
    is_positive = bool(missing.max() >= surplus.max())
    depths = missing if is_positive else surplus
    row, column = np.unravel_index(int(depths.argmax()), depths.shape)
    return Click(y=row + 0.5, x=column + 0.5, is_positive=is_positive)


def iou_of(mask: _Bools, truth: _Bools) -> float:
    """Pixels of both among pixels of either."""
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def _depths(wrong: _Bools) -> NDArray[np.float32]:
    padded = np.pad(wrong, 1).astype(np.uint8)
    depths = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Of two that are equally deep, OpenCV makes now one and now the other deeper, by
    # a last bit.
    return np.asarray(np.rint(depths[1:-1, 1:-1] ** 2), np.float32)
