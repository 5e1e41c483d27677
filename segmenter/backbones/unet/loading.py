"""A model's source in, a `UNetBackbone` out.

Stable Diffusion 1, 2 and XL load the same way: diffusers layout, safetensors only;
what they are is read from their configurations, not from their names.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from segmenter.backbones.unet.backbone import UNetBackbone
from segmenter.errors import UnsupportedModel
from segmenter.source import ModelSource
from segmenter.text import TextEncoders
from segmenter.weights import load_part, load_tokenizer, load_weights, prepare


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
            inpainting do.
    """

    def weights(loader: Any, folder: str, precision: torch.dtype = dtype) -> Any:
        model = load_weights(loader, source, folder, torch_dtype=precision)
        return prepare(model, device)

    def tokenizer(folder: str, encoder: Any) -> Any:
        return load_tokenizer(
            CLIPTokenizer,
            source,
            folder,
            vocabulary=encoder.config.vocab_size,
            window=encoder.config.max_position_embeddings,
        )

    unet = weights(UNet2DConditionModel, "unet")
    vae = weights(AutoencoderKL, "vae")
    if unet.config.in_channels != vae.config.latent_channels:
        raise UnsupportedModel(
            f"{source.location} has a U-Net of {unet.config.in_channels} input "
            f"channels for latents of {vae.config.latent_channels}: it was made for "
            f"inpainting or editing. Use a text-to-image model such as Stable "
            f"Diffusion 1.5, 2.1 or XL."
        )
    has_two = unet.config.addition_embed_type == "text_time"
    # SDXL's VAE overflows in float16, and says so; diffusers says it of all others.
    if dtype == torch.float16 and has_two and vae.config.force_upcast:
        vae = weights(AutoencoderKL, "vae", torch.float32)
    # Nothing is ever decoded, which over half of the VAE's weights are for.
    vae.decoder = torch.nn.Identity()
    encoder = weights(CLIPTextModel, "text_encoder")
    second = weights(CLIPTextModelWithProjection, "text_encoder_2") if has_two else None
    backbone = UNetBackbone(
        vae=vae,
        unet=unet,
        text=TextEncoders(
            tokenizer("tokenizer", encoder),
            encoder,
            second_encoder=second,
            second_padding_id=tokenizer("tokenizer_2", second).pad_token_id
            if has_two
            else 0,
        ),
        # Only the noise schedule is used; DDIM reads any scheduler's file.
        scheduler=load_part(DDIMScheduler, source, "scheduler"),
    )
    if compiles:
        backbone.compile()
    return backbone
