"""A random model of Stable Diffusion 3 medium's true shapes; see `sd15`."""

from typing import Any, Final

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from segmenter.backbones.joint import JointBackbone
from segmenter.pocket.train.text import build_tokenizer
from segmenter.text import TextEncoders
from segmenter.weights import prepare
from tests.bench.sd15 import SIDE_PX

BLOCK: Final = 9


def sd3_transformer() -> Any:
    """The transformer's shapes, without memory for them."""
    with torch.device("meta"):
        return SD3Transformer2DModel(
            sample_size=SIDE_PX // 8,
            num_layers=24,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=192,
        )


def make_vae(latent_channels: int) -> Any:
    """The VAE of Stable Diffusion, whose sizes have stayed."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=latent_channels,
        sample_size=SIDE_PX,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def stable_diffusion_3(device: torch.device, dtype: torch.dtype) -> JointBackbone:
    """Transformer, VAE and both text encoders at 512 pixels; all blocks are there.

    Memory is short where this is measured: the blocks but the one that is read and the
    last share their weights, 170 MB in bfloat16, which no cache holds either. Of the
    text encoders, which run once for a list of labels, two layers are there.
    """
    tokenizer = build_tokenizer()
    transformer = sd3_transformer()
    blocks = transformer.transformer_blocks
    for number in range(1, len(blocks) - 1):
        if number != BLOCK:  # a hook is to hear that one alone
            blocks[number] = blocks[0]
    with torch.device("meta"):
        vae = make_vae(latent_channels=16)
    return JointBackbone(
        vae=_filled(vae, device, dtype),
        transformer=_filled(transformer, device, dtype),
        text=TextEncoders(
            tokenizer,
            _clip(tokenizer, dtype, width=768, heads=12),
            second_encoder=_clip(tokenizer, dtype, width=1280, heads=20),
            sums_up_by_both=True,
        ),
        block=BLOCK,
    )


def _filled(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Random weights, made in the dtype that they stay in."""
    torch.manual_seed(0)
    model = model.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.normal_(std=0.02)
    return prepare(model, device)


def _clip(tokenizer: Any, dtype: torch.dtype, *, width: int, heads: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return prepare(CLIPTextModelWithProjection(config).to(dtype), torch.device("cpu"))
