"""Corrected images in, heads that draw their labels in other images out.

A head is a linear function of what the one pass knew of each cell. No torch and no
pass: heads are fitted and applied from what `ScoreMaps` keep. Refuses to know who
corrects, and where examples and heads are kept.
"""

from segmenter.heads.applying import apply_heads, blank_labels
from segmenter.heads.examples import Example, make_example
from segmenter.heads.fitting import fit_heads
from segmenter.heads.quality import estimate_ious
from segmenter.heads.values import Heads, LabelHead

__all__ = [
    "Example",
    "Heads",
    "LabelHead",
    "apply_heads",
    "blank_labels",
    "estimate_ious",
    "fit_heads",
    "make_example",
]
