"""Score maps and the masks cut from them in, how good each mask is likely to be out.

A prediction's score by which the worst come first. Axis letters: L labels, h, w cells
of the maps, Y, X image pixels.
"""

import numpy as np
from numpy.typing import NDArray

from segmenter.types import ScoreMaps, Segmentation


def estimate_ious(maps: ScoreMaps, segmentation: Segmentation) -> NDArray[np.float32]:
    """Estimate each mask's IoU with what a person would draw: float32 (L,) in [0, 1].

    Args:
        maps: that the masks were cut from.
        segmentation: of the same labels.

    Returns:
        0 where there is no mask.
    """
    shown = segmentation.shares > 0
    likely = np.sqrt(np.clip(segmentation.scores * maps.presence, 0, 1))
    return np.where(shown, likely, 0).astype(np.float32)
