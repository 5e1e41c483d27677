"""Images and labels in, score maps out: fast mode and paper mode.

What makes maps of attention (competition, fusion of levels, refinement), and the
windows that a large image is read in. Refuses to know which family of models is read
(see `backbones.Backbone`), and whether a label is present: that is a weight here.
"""

from segmenter.modes.fast import FastMode, FastReading, Request
from segmenter.modes.layers import patch_grid, patch_layer, wordless_layers
from segmenter.modes.paper import PaperReading, read_paper
from segmenter.modes.passes import Passes, check_image, size_yx

__all__ = [
    "FastMode",
    "FastReading",
    "PaperReading",
    "Passes",
    "Request",
    "check_image",
    "patch_grid",
    "patch_layer",
    "read_paper",
    "size_yx",
    "wordless_layers",
]
