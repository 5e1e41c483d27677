"""Random models of Stable Diffusion 1.5's true shapes, for what needs no training.

Speed, memory and numerics do not depend on what the weights say.
"""

from typing import Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
)

from segmenter.backbones.unet import UNetBackbone
from segmenter.pocket.train.text import build_tokenizer
from segmenter.pocket.words import WORDS
from segmenter.presence import ImageText
from segmenter.text.encoders import TextEncoders
from segmenter.weights import prepare

SIDE_PX: Final = 512


def stable_diffusion_15(
    device: torch.device, dtype: torch.dtype, *, channels_last: bool = True
) -> UNetBackbone:
    """U-Net, VAE and text encoder of Stable Diffusion 1.5 with random weights."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=SIDE_PX,
    )
    # diffusers' defaults are Stable Diffusion 1's U-Net but for the text width.
    unet = UNet2DConditionModel(sample_size=SIDE_PX // 8, cross_attention_dim=768)
    vae, unet, text_encoder = (
        prepare(model.to(dtype), device, channels_last=channels_last)
        for model in (vae, unet, text_encoder)
    )
    return UNetBackbone(
        vae=vae,
        unet=unet,
        text=TextEncoders(tokenizer, text_encoder),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            clip_sample=False,
        ),
    )


def clip_vit_l14(device: torch.device) -> ImageText:
    """CLIP ViT-L/14 with random weights, which judges presence beside SD 1.5."""
    tokenizer = build_tokenizer()
    torch.manual_seed(1)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        projection_dim=768,
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=768,
    )
    return ImageText(
        model=prepare(CLIPModel(config), device),
        tokenizer=tokenizer,
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}
        ),
    )


def label_names(count: int) -> tuple[str, ...]:
    """Different labels of one or two tokens each."""
    pairs = (f"{first} {second}" for first in WORDS for second in WORDS)
    return (*WORDS, *pairs)[:count]
