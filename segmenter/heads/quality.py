"""Score maps and the masks cut from them in, how good each mask is likely to be out.

A prediction's score by which the worst come first. Axis letters: L labels, h, w cells
of the maps, Y, X image pixels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.applying import logistic
from segmenter.types import ScoreMaps, Segmentation

_Floats = NDArray[np.float32]

# A logistic regression on the masks of 500 pocket training scenes in which 24 labels
# were looked for: a weight for each column of `_signs`, behind the bias.
_BIAS: Final = np.float32(-0.663)
_WEIGHTS: Final = np.array(
    [
        0.466,  # log-odds of presence
        1.666,  # mean score inside the mask
        -2.211,  # what another label scores there at most
        -1.700,  # share of the label's cells where another one scores more
        -0.174,  # cells of a middling score for each sure one
        0.660,  # square root of the mask's share of the image
        -0.015,  # labels that have a mask
    ],
    np.float32,
)
# A cell of this is the label's; of a score between these it is anybody's.
_SURE_01: Final = 0.5
_UNSURE_01: Final = (0.25, 0.65)


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
    """What tells good masks from bad ones: float32 (len(shown), 7).

    Args:
        maps: of the image.
        segmentation: the masks.
        shown: indices of labels that have a mask.
    """
    scores = np.nan_to_num(maps.maps[shown].astype(np.float32))
    rows = []
    for place, index in enumerate(shown):
        own = scores[place]
        rivals = np.delete(scores, place, axis=0)
        rival = rivals.max(axis=0, initial=0)
        inside = own >= min(_SURE_01, float(own.max()))
        unsure = (own > _UNSURE_01[0]) & (own < _UNSURE_01[1])
        p = min(max(float(maps.presence[index]), 0.01), 0.999)
        rows.append(
            [
                float(np.log(p / (1 - p))),
                float(segmentation.scores[index]),
                float(rival[inside].mean()),
                float((rival[inside] > own[inside]).mean()),
                float(unsure.sum() / inside.sum()),
                float(np.sqrt(segmentation.shares[index])),
                float(len(shown)),
            ]
        )
    return np.array(rows, np.float32)
