"""GrabCut (Rother et al., SIGGRAPH 2004) with clicks, to compare with."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter import Click

# Around a click, as shares of the long side: what is certain, and without a start
# what may be the object.
_CERTAIN_01: Final = 0.02
_LIKELY_01: Final = 0.15
_ROUNDS: Final = 3


def grab_cut(
    image: NDArray[np.uint8], clicks: Sequence[Click], start: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """An object's mask: bool (Y, X)."""
    side = max(image.shape)
    mask = np.full(image.shape[:2], cv2.GC_PR_BGD, np.uint8)
    if start is not None:
        mask[start] = cv2.GC_PR_FGD
    else:
        for click in clicks:
            if click.is_positive:
                _paint(mask, click, _LIKELY_01 * side, cv2.GC_PR_FGD)
    for click in clicks:
        kind = cv2.GC_FGD if click.is_positive else cv2.GC_BGD
        _paint(mask, click, _CERTAIN_01 * side, kind)
    is_object = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if is_object.any() and not is_object.all():
        # Its colour models are seeded from a generator that is OpenCV's own.
        cv2.setRNGSeed(0)
        models = np.zeros((2, 1, 65), np.float64)
        cv2.grabCut(image, mask, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _paint(mask: NDArray[np.uint8], click: Click, radius_px: float, kind: int) -> None:
    centre = int(click.x), int(click.y)
    cv2.circle(mask, centre, max(1, round(radius_px)), kind, cv2.FILLED)
