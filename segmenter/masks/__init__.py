"""Score maps in, masks out: cut at thresholds, edges on the image's, painted over it.

No torch: a server cuts masks of cached maps without it. Refuses to know where score
maps come from.
"""

from segmenter.masks.boundaries import Guide
from segmenter.masks.competition import stretch
from segmenter.masks.cutting import (
    cut_masks,
    find_winners,
    iter_masks,
    merge_prompts,
)
from segmenter.masks.overlay import label_colour, paint_overlay

__all__ = [
    "Guide",
    "cut_masks",
    "find_winners",
    "iter_masks",
    "label_colour",
    "merge_prompts",
    "paint_overlay",
    "stretch",
]
