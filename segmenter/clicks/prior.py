"""What is known of an object before anybody clicks: a level at every pixel. Pure.

Above 0 is the object, below is not; 1 and -1 are certain. Axis letters: Y, X pixels of
the working picture.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.masks import Guide, stretch
from segmenter.types import ScoreMaps

_Floats = NDArray[np.float32]

# Of a label that the model does not see, its map says little and that with care.
_ABSENT_FACTOR: Final = 0.5
_ABSENT_MOST: Final = 0.2
_ABSENT_OFFSET: Final = -0.1
_NO_LABEL: Final = -0.3


def label_level(
    guide: Guide,
    maps: ScoreMaps | None,
    label: int | None,
    *,
    threshold: float,
    presence_threshold: float,
    size_yx: tuple[int, int],
) -> _Floats:
    """How far a label's score lies above what it has to beat: float32 (Y, X).

    Args:
        guide: of the working picture.
        maps: of the image; None where there are none.
        label: index into the maps' labels; None for an object without a name.
        threshold: the background's score.
        presence_threshold: labels with less presence take part in nothing.
        size_yx: of the working picture.
    """
    if maps is None or label is None:
        return np.full(size_yx, _NO_LABEL, np.float32)
    present = np.flatnonzero(maps.presence >= np.float32(presence_threshold))
    own = stretch(guide.follow(maps.maps[label]))
    bar = np.full(size_yx, threshold, np.float32)
    for other in present:
        if other != label:
            np.maximum(bar, stretch(guide.follow(maps.maps[other])), out=bar)
    level = np.clip(own - bar, -1, 1)
    if label in present:
        return level
    return np.minimum(level * _ABSENT_FACTOR, _ABSENT_MOST) + np.float32(_ABSENT_OFFSET)
