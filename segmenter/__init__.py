"""Image and label names in, masks out: a training-free diffusion segmenter.

The light door: importing this does not import torch. `load_segmenter` does, when
it is called.
"""

from typing import TYPE_CHECKING

from segmenter.clicks import refine_mask
from segmenter.errors import (
    BadClick,
    BadImage,
    BadLabel,
    PictureError,
    PictureFormatRefused,
    PictureTooLarge,
    PictureUnreadable,
    SegmenterError,
    UnsupportedModel,
    UnusableDevice,
    UnusablePrecision,
    WebPageInstead,
    WeightsNotFound,
)
from segmenter.heads import (
    Example,
    Heads,
    LabelHead,
    apply_heads,
    blank_labels,
    estimate_ious,
    fit_heads,
    make_example,
)
from segmenter.masks import cut_masks, iter_masks, merge_prompts
from segmenter.options import MODES, Mode, SegmenterOptions
from segmenter.pictures import (
    IMAGE_FORMATS,
    MAX_IMAGE_PIXELS,
    Picture,
    decode_image,
)
from segmenter.recipes import RECIPES, find_recipe, recipe_options
from segmenter.source import BUNDLED_MODELS, ModelSource
from segmenter.terms import ModelTerms, find_terms
from segmenter.types import (
    Box,
    Click,
    Devices,
    LabelMask,
    ScoreMaps,
    Segmentation,
    WeightsLocation,
)

if TYPE_CHECKING:
    from segmenter.predictor import Segmenter

__all__ = [
    "BUNDLED_MODELS",
    "IMAGE_FORMATS",
    "MAX_IMAGE_PIXELS",
    "MODES",
    "RECIPES",
    "BadClick",
    "BadImage",
    "BadLabel",
    "Box",
    "Click",
    "Devices",
    "Example",
    "Heads",
    "LabelHead",
    "LabelMask",
    "Mode",
    "ModelSource",
    "ModelTerms",
    "Picture",
    "PictureError",
    "PictureFormatRefused",
    "PictureTooLarge",
    "PictureUnreadable",
    "ScoreMaps",
    "Segmentation",
    "SegmenterError",
    "SegmenterOptions",
    "UnsupportedModel",
    "UnusableDevice",
    "UnusablePrecision",
    "WebPageInstead",
    "WeightsLocation",
    "WeightsNotFound",
    "apply_heads",
    "blank_labels",
    "cut_masks",
    "decode_image",
    "estimate_ious",
    "find_devices",
    "find_recipe",
    "find_terms",
    "find_weights",
    "fit_heads",
    "iter_masks",
    "load_segmenter",
    "make_example",
    "merge_prompts",
    "recipe_options",
    "refine_mask",
]


def load_segmenter(
    model: str = "pocket",
    options: SegmenterOptions | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    compiles: bool = False,
) -> "Segmenter":
    """Load a model; see `segmenter.predictor.load_segmenter`."""
    from segmenter.predictor import load_segmenter as load

    return load(model, options, device=device, dtype=dtype, compiles=compiles)


def find_devices() -> Devices:
    """What torch can run on; see `segmenter.locate`."""
    from segmenter.locate import find_devices as find

    return find()


def find_weights(source: ModelSource) -> WeightsLocation:
    """Where weights are; see `segmenter.locate`."""
    from segmenter.locate import find_weights as find

    return find(source)
