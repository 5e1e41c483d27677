"""Image and label names in, masks out: a training-free diffusion segmenter.

The light door: importing this does not import torch. `load_segmenter` does, when
it is called. Rooms that compute with numpy and OpenCV are imported when one of their
names is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

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
from segmenter.formats import IMAGE_FORMATS, MAX_IMAGE_PIXELS
from segmenter.options import MODES, Mode, SegmenterOptions
from segmenter.recipes import RECIPES, find_recipe, recipe_options
from segmenter.source import BUNDLED_MODELS, ModelSource
from segmenter.terms import ModelTerms, find_terms

if TYPE_CHECKING:
    from segmenter.clicks import refine_mask
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
    from segmenter.pictures import Picture, decode_image
    from segmenter.predictor import Segmenter
    from segmenter.types import (
        Box,
        Click,
        Devices,
        ImageEncoding,
        LabelMask,
        ScoreMaps,
        Segmentation,
        WeightsLocation,
    )

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
    "ImageEncoding",
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

# Where names are that are imported when they are asked for.
_LATE: Final = {
    "segmenter.clicks": {"refine_mask"},
    "segmenter.heads": {
        *("Example", "Heads", "LabelHead", "apply_heads", "blank_labels"),
        *("estimate_ious", "fit_heads", "make_example"),
    },
    "segmenter.masks": {"cut_masks", "iter_masks", "merge_prompts"},
    "segmenter.pictures": {"Picture", "decode_image"},
    "segmenter.types": {
        *("Box", "Click", "Devices", "ImageEncoding", "LabelMask", "ScoreMaps"),
        *("Segmentation", "WeightsLocation"),
    },
}


# A type checker would take any name for one that is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _LATE.items():
            if name in names:
                found = globals()[name] = getattr(import_module(module), name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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


def find_devices() -> "Devices":
    """What torch can run on; see `segmenter.locate`."""
    from segmenter.locate import find_devices as find

    return find()


def find_weights(source: ModelSource) -> "WeightsLocation":
    """Where weights are; see `segmenter.locate`."""
    from segmenter.locate import find_weights as find

    return find(source)
