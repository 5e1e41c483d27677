"""A model's source in, the model of the right family out.

The class that the denoiser's configuration names decides, never the model's name.
"""

from collections.abc import Sequence
from typing import Final

import torch

from segmenter.backbones import unet
from segmenter.backbones.protocol import Backbone, Family
from segmenter.source import DENOISER_FOLDERS, ModelSource
from segmenter.weights import read_config

FAMILIES: Final[tuple[Family, ...]] = (unet.FAMILY,)
"""All families that can be read. Of a model that none of them claims, the first one's
loader says what is missing."""


def load_backbone(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compiles: bool = False,
    families: Sequence[Family] = FAMILIES,
) -> Backbone:
    """Load a model.

    Args:
        source: of the model.
        device: where it will run.
        dtype: of its parts, as far as they take it.
        compiles: let torch compile what it can at the first images.
        families: to choose among; at least one.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
        UnsupportedModel: if the model is of none of the families.
    """
    family = _find_family(source, families)
    return family.load(source, device=device, dtype=dtype, compiles=compiles)


def _find_family(source: ModelSource, families: Sequence[Family]) -> Family:
    class_name = _denoiser_class(source)
    claims = (family for family in families if class_name in family.class_names)
    return next(claims, families[0])


def _denoiser_class(source: ModelSource) -> str | None:
    """Diffusers' class of the part that removes noise; None where nothing says."""
    for folder in DENOISER_FOLDERS:
        config = read_config(source, folder)
        if config is not None:
            return config.get("_class_name")
    return None
