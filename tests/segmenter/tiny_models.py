"""Randomly initialised models of the true classes, small enough for every test.

What a test can learn from them is what does not depend on training: shapes,
order, determinism, and that our arithmetic is the models' own.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from segmenter.attention import capture
from segmenter.maps import MapCollector
from segmenter.pocket.train import blip, clip
from segmenter.pocket.train.text import build_tokenizer
from segmenter.weights import Captioner, DiffusionParts, ImageText

TEXT_WIDTH = 16
LATENT_SIDE = 16
# The VAE below halves twice.
IMAGE_SIDE_PX = 4 * LATENT_SIDE
# Fresh projections attend almost evenly, and min-max would then blow up rounding;
# larger ones give attention something to prefer, as training does.
_CONTRAST = 5.0

FOUR_LEVELS = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
"""Stable Diffusion's shape: latent, 1/2, 1/4, and 1/8 in the middle block."""
THREE_LEVELS = ("CrossAttnDownBlock2D",) * 3
"""The pocket model's shape: the middle block shares the 1/4 level."""
NO_LATENT_LEVEL = ("DownBlock2D", "CrossAttnDownBlock2D")
"""Attention starts at half resolution, as in Stable Diffusion XL."""


def make_unet(down_blocks: tuple[str, ...] = FOUR_LEVELS, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(8, 16, 16, 24)[: len(down_blocks)],
        down_block_types=down_blocks,
        up_block_types=tuple(name.replace("Down", "Up") for name in down_blocks[::-1]),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if ".to_q." in name or ".to_k." in name:
                parameter.mul_(_CONTRAST)
    return unet.eval().requires_grad_(False)


def draw_inputs(
    latent_yx: tuple[int, int], batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A latent, one context per label, and which tokens each label reads."""
    generator = torch.Generator().manual_seed(2)
    latent = torch.randn(1, 4, *latent_yx, generator=generator)
    n_tokens = 9
    context = torch.randn(batch, n_tokens, TEXT_WIDTH, generator=generator)
    read = torch.zeros(batch, n_tokens)
    for row in range(batch):
        read[row, 4 : 5 + row] = 1 / (1 + row)
    return latent, context, read


def collect(
    unet: Any, latent: Tensor, context: Tensor, read: Tensor, products: int = 1
) -> MapCollector:
    """Run the U-Net once, with a collector that reads it."""
    grid = (latent.shape[2], latent.shape[3])
    collector = MapCollector(read, latent_yx=grid, wants_self=products > 0)
    with capture(unet, collector.read):
        unet(latent.expand(len(read), -1, -1, -1), 100, context)
    return collector


def make_vae(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=IMAGE_SIDE_PX,
    )
    return vae.eval().requires_grad_(False)


def make_text_encoder(tokenizer: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=TEXT_WIDTH,
        initializer_factor=20.0,
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


def make_parts(down_blocks: tuple[str, ...] = FOUR_LEVELS) -> DiffusionParts:
    tokenizer = build_tokenizer()
    return DiffusionParts(
        vae=make_vae(),
        unet=make_unet(down_blocks),
        text_encoder=make_text_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
    )


def make_captioner() -> Captioner:
    torch.manual_seed(0)
    tokenizer = blip.build_blip_tokenizer()
    return Captioner(
        model=_sharpened(blip.new_blip(tokenizer)),
        tokenizer=tokenizer,
        image_processor=blip.new_image_processor(),
    )


def make_image_text() -> ImageText:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    return ImageText(
        model=_sharpened(clip.new_clip(tokenizer)),
        tokenizer=tokenizer,
        image_processor=clip.new_image_processor(),
    )


def _sharpened(model: Any) -> Any:
    """Let different pictures and texts look different to a fresh transformer."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                continue
            if float(parameter.std()) < 1e-6:
                # transformers starts BLIP's vision tower at 1e-10.
                parameter.normal_(std=0.02)
            if "patch_embedding" in name:
                parameter.mul_(20)
            elif "embedding" not in name:
                parameter.mul_(4)
    return model.eval().requires_grad_(False)


def save_model(
    folder: Path, parts: DiffusionParts, captioner: Captioner, image_text: ImageText
) -> None:
    """Write a model with its companions, in the layout that `load_segmenter` reads."""
    parts.vae.save_pretrained(folder / "vae")
    parts.unet.save_pretrained(folder / "unet")
    parts.text_encoder.save_pretrained(folder / "text_encoder")
    parts.tokenizer.save_pretrained(folder / "tokenizer")
    parts.scheduler.save_pretrained(folder / "scheduler")
    for name, companion in (("captioner", captioner), ("image_text", image_text)):
        companion.model.save_pretrained(folder / name)
        companion.tokenizer.save_pretrained(folder / name)
        companion.image_processor.save_pretrained(folder / name)
