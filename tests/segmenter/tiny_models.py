"""Randomly initialised models of the true classes, small enough for every test.

What a test can learn from them is what does not depend on training: shapes,
order, determinism, and that our arithmetic is the models' own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from segmenter.backbones import PromptTokens, Sample, SampleReading
from segmenter.backbones.cross_attention import LayerPlan, VocabularyKeys, grid_at
from segmenter.backbones.unet import UNetBackbone
from segmenter.backbones.unet.layers import plan_layers, scan_layers
from segmenter.backbones.unet.reading import read_samples
from segmenter.modes.maps import fuse_levels, refine_over_windows, stretch
from segmenter.modes.windows import Layout
from segmenter.pocket.train import blip, clip
from segmenter.pocket.train.text import build_tokenizer
from segmenter.presence import Captioner, ImageText
from segmenter.text.encoders import TextEncoders, TextEncoding
from segmenter.weights import prepare

CPU = torch.device("cpu")
TEXT_WIDTH = 16
LATENT_SIDE = 16
# The VAE below halves twice.
IMAGE_SIDE_PX = 4 * LATENT_SIDE
# Fresh projections attend almost evenly, and min-max would then blow up rounding;
# larger ones give attention something to prefer, as training does.
_CONTRAST = 5.0
# The same for texts. SDXL reads a state that no norm has tamed: more of it would turn
# rounding into chaos.
_SPREAD_OF_TEXTS = 20.0
_SPREAD_OF_UNNORMALISED_TEXTS = 2.0

PAPER_WEIGHTS = (0.3, 0.5, 0.1, 0.1)

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
    return with_contrast(unet)


def with_contrast(unet: Any) -> Any:
    """Let a fresh U-Net's attention prefer something, see `_CONTRAST`."""
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if ".to_q." in name or ".to_k." in name:
                parameter.mul_(_CONTRAST)
    return prepare(unet, CPU)


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


def read_passes(
    unet: Any,
    latent: Tensor,
    context: Tensor,
    read: Tensor,
    *,
    level_weights: Sequence[float] = PAPER_WEIGHTS,
    products: int = 1,
) -> tuple[list[SampleReading], LayerPlan]:
    """One pass per row of `context`, all on one latent, as paper mode makes them."""
    plan = plan_layers(
        scan_layers(unet, context[:1], None),
        level_weights=level_weights,
        self_attention_products=products,
        self_attention_layers="all",
    )
    samples = [
        Sample(
            latent=latent[0],
            text=TextEncoding(context=context[row : row + 1]),
            tokens=PromptTokens(weights=read[row : row + 1]),
        )
        for row in range(len(read))
    ]
    readings = read_samples(
        unet, samples, plan, VocabularyKeys(), timestep=100, cell_px=4
    )
    return readings, plan


def paper_style_maps(
    unet: Any,
    latent: Tensor,
    context: Tensor,
    read: Tensor,
    *,
    level_weights: Sequence[float] = PAPER_WEIGHTS,
    products: int = 1,
) -> Tensor:
    """The maps of `read_passes`: float32 (B, h, w)."""
    readings, plan = read_passes(
        unet, latent, context, read, level_weights=level_weights, products=products
    )
    layout = whole(grid_at((latent.shape[2], latent.shape[3]), plan.depth))
    results = []
    for reading in readings:
        maps = fuse_levels([reading], layout, stretches=True)
        for _ in range(products):
            maps = refine_over_windows(maps, [reading], layout)
        results.append(stretch(maps)[0])
    return torch.stack(results)


def whole(grid_yx: tuple[int, int]) -> Layout:
    """One window that covers all."""
    return Layout(canvas_yx=grid_yx, window_yx=grid_yx, origins_yx=((0, 0),))


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
    return prepare(vae, CPU)


def make_text_encoder(tokenizer: Any, factor: float = _SPREAD_OF_TEXTS) -> Any:
    torch.manual_seed(0)
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
        initializer_factor=factor,
    )
    return prepare(CLIPTextModel(config), CPU)


def make_scheduler(**config: Any) -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        **config,
    )


def make_parts(down_blocks: tuple[str, ...] = FOUR_LEVELS) -> UNetBackbone:
    tokenizer = build_tokenizer()
    return UNetBackbone(
        vae=make_vae(),
        unet=make_unet(down_blocks),
        text=TextEncoders(tokenizer, make_text_encoder(tokenizer)),
        scheduler=make_scheduler(),
    )


def make_sd21_parts() -> UNetBackbone:
    """Stable Diffusion 2.1 scaled down: linear projections, heads by level, v."""
    parts = make_parts()
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(8, 16, 32, 32),
        down_block_types=FOUR_LEVELS,
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=TEXT_WIDTH,
        # Heads of one width, hence more of them where there are more channels.
        attention_head_dim=(1, 2, 4, 4),
        use_linear_projection=True,
        norm_num_groups=4,
    )
    return replace(
        parts,
        unet=with_contrast(unet),
        scheduler=make_scheduler(prediction_type="v_prediction"),
    )


def make_sdxl_parts() -> UNetBackbone:
    """SDXL scaled down: two encoders, no attention at latent resolution."""
    parts = make_parts()
    second = _make_second_text_encoder(parts.text.tokenizer)
    pooled_width = second.config.projection_dim
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(8, 16, 32),
        down_block_types=(
            "DownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
        ),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=TEXT_WIDTH + second.config.hidden_size,
        attention_head_dim=(1, 2, 4),
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=pooled_width + 6 * 8,
    )
    first = make_text_encoder(parts.text.tokenizer, _SPREAD_OF_UNNORMALISED_TEXTS)
    text = TextEncoders(parts.text.tokenizer, first, second_encoder=second)
    return replace(parts, unet=with_contrast(unet), text=text)


def _make_second_text_encoder(tokenizer: Any) -> Any:
    torch.manual_seed(3)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=20,
        initializer_factor=_SPREAD_OF_UNNORMALISED_TEXTS,
    )
    return prepare(CLIPTextModelWithProjection(config), CPU)


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
    return prepare(model, CPU)


def save_model(
    folder: Path, parts: UNetBackbone, captioner: Captioner, image_text: ImageText
) -> None:
    """Write a model and its auxiliary models as `load_segmenter` reads them."""
    save_parts(folder, parts)
    save_auxiliary(folder, "captioner", captioner)
    save_auxiliary(folder, "image_text", image_text)


def save_auxiliary(folder: Path, name: str, auxiliary: Captioner | ImageText) -> None:
    auxiliary.model.save_pretrained(folder / name)
    auxiliary.tokenizer.save_pretrained(folder / name)
    auxiliary.image_processor.save_pretrained(folder / name)


def save_parts(folder: Path, parts: UNetBackbone) -> None:
    """Write a model alone."""
    parts.vae.save_pretrained(folder / "vae")
    parts.unet.save_pretrained(folder / "unet")
    parts.text.encoder.save_pretrained(folder / "text_encoder")
    parts.text.tokenizer.save_pretrained(folder / "tokenizer")
    if parts.text.second_encoder is not None:
        parts.text.second_encoder.save_pretrained(folder / "text_encoder_2")
        padded = build_tokenizer()
        padded.pad_token = padded.convert_ids_to_tokens(0)
        padded.save_pretrained(folder / "tokenizer_2")
    parts.scheduler.save_pretrained(folder / "scheduler")
