"""A model's source in, the model of the right family out.

The class that the denoiser's configuration names decides, never the model's name.
"""

from collections.abc import Sequence
from typing import Final

import torch

from segmenter.backbones import joint, pixart, unet
from segmenter.backbones.protocol import Backbone, Family
from segmenter.errors import UnsupportedModel, WeightsNotFound
from segmenter.source import (
    DENOISER_FOLDERS,
    ModelSource,
    explain_single_file,
    find_single_file,
)
from segmenter.weights import read_config

FAMILIES: Final[tuple[Family, ...]] = (unet.FAMILY, joint.FAMILY, pixart.FAMILY)
"""All families that can be read. Of a model that does not say what it is, the first
one's loader says what is missing."""


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
    file = find_single_file(source)
    if file is not None:
        raise WeightsNotFound(source.location, explain_single_file(file))
    family = _find_family(source, families)
    return family.load(source, device=device, dtype=dtype, compiles=compiles)


def _find_family(source: ModelSource, families: Sequence[Family]) -> Family:
    class_name = _denoiser_class(source)
    if class_name is None:
        return families[0]
    for family in families:
        if class_name in family.class_names:
            return family
    index = read_config(source, "", "model_index.json") or {}
    known = sorted({name for family in families for name in family.class_names})
    raise UnsupportedModel(
        f"{source.location} is a {index.get('_class_name', 'model')} with a "
        f"{class_name}, whose attention is not read yet. Use a text-to-image model "
        f"with a {' or '.join(known)}: Stable Diffusion 1.x, 2.x, XL (base), 3 or 3.5 "
        f"(medium), PixArt-alpha or PixArt-Sigma."
    )


def _denoiser_class(source: ModelSource) -> str | None:
    """Diffusers' class of the part that removes noise; None where nothing says."""
    for folder in DENOISER_FOLDERS:
        config = read_config(source, folder)
        if config is not None:
            return config.get("_class_name")
    index = read_config(source, "", "model_index.json") or {}
    for folder in DENOISER_FOLDERS:
        match index.get(folder):
            case [_, str(class_name)]:
                return class_name
    return None
