"""A model's source in, a `UNetBackbone` out.

Stable Diffusion 1, 2 and XL load the same way: diffusers layout, safetensors only;
what they are is read from their configurations, not from their names.
"""

from typing import Final

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from segmenter.backbones.clip_texts import load_clip_tokenizer, padding_id
from segmenter.backbones.parts import PartLoader
from segmenter.backbones.unet.backbone import UNetBackbone
from segmenter.errors import UnsupportedModel
from segmenter.source import ModelSource
from segmenter.text import TextEncoders
from segmenter.weights import (
    load_part,
    read_config,
)

_USE_INSTEAD: Final = (
    "Use a text-to-image model such as Stable Diffusion 1.5, 2.1 or XL (base)."
)


def load_unet(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compiles: bool = False,
) -> UNetBackbone:
    """Load the parts that attention is read from.

    Args:
        source: of the model.
        device: where it will run.
        dtype: of U-Net, VAE and text encoders.
        compiles: let torch compile what it can, see `UNetBackbone.compile`.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
        UnsupportedModel: if the U-Net takes more than a latent, as those made for
            inpainting do, or is a refiner.
    """
    _refuse_other_kinds(source)
    parts = PartLoader(source=source, device=device, dtype=dtype)
    unet = parts.load(UNet2DConditionModel, "unet")
    vae = parts.vae()
    has_two = unet.config.addition_embed_type == "text_time"
    # SDXL's VAE overflows in float16, and says so; diffusers says it of all others.
    if dtype == torch.float16 and has_two and vae.config.force_upcast:
        vae = parts.vae(torch.float32)
    encoder = parts.load(CLIPTextModel, "text_encoder")
    second = (
        parts.load(CLIPTextModelWithProjection, "text_encoder_2") if has_two else None
    )
    backbone = UNetBackbone(
        vae=vae,
        unet=unet,
        text=TextEncoders(
            load_clip_tokenizer(source, "tokenizer", encoder),
            encoder,
            second_encoder=second,
            second_padding_id=padding_id(
                source,
                "tokenizer_2",
                load_clip_tokenizer(source, "tokenizer_2", second),
            )
            if has_two
            else 0,
        ),
        # Only the noise schedule is used; DDIM reads any scheduler's file.
        scheduler=load_part(DDIMScheduler, source, "scheduler"),
    )
    if compiles:
        backbone.compile()
    return backbone


def _refuse_other_kinds(source: ModelSource) -> None:
    """Refuse U-Nets for other uses by their configurations, before gigabytes are read.

    Raises:
        UnsupportedModel: see `load_unet`.
    """
    unet = read_config(source, "unet") or {}
    vae = read_config(source, "vae") or {}
    # diffusers' own where a configuration does not say.
    channels, expected = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    is_xl = unet.get("addition_embed_type") == "text_time"
    if channels == expected and not is_xl:
        return
    # Most models are never asked for this file, which may be out of reach.
    index = read_config(source, "", "model_index.json") or {}
    name = index.get("_class_name", "model")
    if channels != expected:
        raise UnsupportedModel(
            f"{source.location} is a {name} with a U-Net of {channels} input channels "
            f"for latents of {expected}: it was made for inpainting or editing. "
            f"{_USE_INSTEAD}"
        )
    if index.get("requires_aesthetics_score") or (
        index.get("text_encoder_2") and index.get("text_encoder") == [None, None]
    ):
        raise UnsupportedModel(
            f"{source.location} is a {name} made to refine SDXL's pictures: it has one "
            f"text encoder where SDXL has two. {_USE_INSTEAD}"
        )
