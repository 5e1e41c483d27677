"""Score maps and the masks cut from them in, how good each mask is likely to be out.

A prediction's score by which the worst come first. Axis letters: L labels, h, w cells
of the maps, Y, X image pixels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.applying import logistic
from segmenter.heads.examples import on_grid
from segmenter.types import ScoreMaps, Segmentation

_Floats = NDArray[np.float32]

# A logistic regression on the 1,440 masks of 600 pocket training scenes in which 24
# labels, or the scene's and five others, were looked for: a weight for each column of
# `_signs`, behind the bias.
_BIAS: Final = np.float32(-3.257)
_WEIGHTS: Final = np.array(
    [
        0.292,  # log-odds of presence
        5.734,  # mean score inside the mask
        1.719,  # log of the mask's cells for each that the label's map claims
        -3.853,  # what another label says of the mask, times its presence, at most
    ],
    np.float32,
)
# A cell of this is claimed by the label, or of the highest score where none has it.
_CLAIMED_01: Final = 0.5


def estimate_ious(maps: ScoreMaps, segmentation: Segmentation) -> _Floats:
    """Estimate each mask's IoU with what a person would draw: float32 (L,) in [0, 1].

    Args:
        maps: that the masks were cut from.
        segmentation: of the same labels.

    Returns:
        0 where there is no mask.
    """
    shares = segmentation.shares
    found = np.zeros(len(maps.labels), np.float32)
    shown = np.flatnonzero(shares > 0)
    if shown.size:
        signs = _signs(maps, segmentation, shown)
        found[shown] = logistic(_BIAS + signs @ _WEIGHTS)
    return found


def _signs(
    maps: ScoreMaps, segmentation: Segmentation, shown: NDArray[np.intp]
) -> _Floats:
    """What tells good masks from bad ones: float32 (len(shown), 4).

    Args:
        maps: of the image.
        segmentation: the masks.
        shown: indices of labels that have a mask.
    """
    grid_yx = (maps.maps.shape[1], maps.maps.shape[2])
    rows = []
    for index in shown:
        covered = on_grid(segmentation.mask(index), grid_yx)
        inside = covered >= min(_CLAIMED_01, float(covered.max()))
        within = np.nan_to_num(maps.maps[:, inside].astype(np.float32)).mean(axis=1)
        rivals = np.delete(maps.presence * within, index)
        own = np.nan_to_num(maps.maps[index].astype(np.float32))
        claimed = own >= min(_CLAIMED_01, float(own.max()))
        p = min(max(float(maps.presence[index]), 0.01), 0.999)
        rows.append(
            [
                float(np.log(p / (1 - p))),
                float(segmentation.scores[index]),
                float(np.log((covered.sum() + 1) / (claimed.sum() + 1))),
                float(rivals.max(initial=0)),
            ]
        )
    return np.array(rows, np.float32)
