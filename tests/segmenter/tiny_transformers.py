"""Randomly initialised transformers of the true classes; see `tiny_models`."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from segmenter.backbones.joint import JointBackbone
from segmenter.backbones.pixart import PixArtBackbone
from segmenter.backbones.pixart.loading import in_lower_case
from segmenter.pocket.train.text import build_tokenizer
from segmenter.text import T5TextEncoder, TextEncoders
from segmenter.weights import prepare
from tests.segmenter.tiny_models import CPU, make_scheduler, make_vae

LATENT_SIDE = 16
# The VAE below halves twice.
IMAGE_SIDE_PX = 4 * LATENT_SIDE
N_BLOCKS = 4
LATENT_CHANNELS = 6
FIRST_WIDTH, SECOND_WIDTH = 16, 24
FIRST_SUMMARY, SECOND_SUMMARY = 12, 20
# Wider than both texts side by side, as in Stable Diffusion 3.
JOINT_WIDTH = 64
# Fresh projections attend almost evenly.
_CONTRAST = 4.0


def make_sd3_transformer(**config: Any) -> Any:
    """Stable Diffusion 3 scaled down, or 3.5 with what it has beside."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "sample_size": LATENT_SIDE,
        "patch_size": 2,
        "in_channels": LATENT_CHANNELS,
        "num_layers": N_BLOCKS,
        "attention_head_dim": 8,
        "num_attention_heads": 3,
        "joint_attention_dim": JOINT_WIDTH,
        "caption_projection_dim": 24,
        "pooled_projection_dim": FIRST_SUMMARY + SECOND_SUMMARY,
        "out_channels": LATENT_CHANNELS,
        "pos_embed_max_size": 24,
    }
    transformer = SD3Transformer2DModel(**(settings | config))
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if name.endswith(("to_q.weight", "_q_proj.weight", "_k_proj.weight")):
                parameter.mul_(_CONTRAST)
    return prepare(transformer, CPU)


SD35 = {"dual_attention_layers": (0, 1, 2), "qk_norm": "rms_norm"}


def make_shifted_vae() -> Any:
    """A VAE whose latents are centred, as Stable Diffusion 3's are."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        sample_size=IMAGE_SIDE_PX,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return prepare(vae, CPU)


def make_clip(tokenizer: Any, *, width: int, summary: int, padding_id: int) -> Any:
    torch.manual_seed(width)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=padding_id,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=summary,
        initializer_factor=2.0,
    )
    return prepare(CLIPTextModelWithProjection(config), CPU)


def make_joint_texts() -> TextEncoders:
    tokenizer = build_tokenizer()
    return TextEncoders(
        tokenizer,
        make_clip(
            tokenizer,
            width=FIRST_WIDTH,
            summary=FIRST_SUMMARY,
            padding_id=tokenizer.pad_token_id,
        ),
        second_encoder=make_clip(
            tokenizer, width=SECOND_WIDTH, summary=SECOND_SUMMARY, padding_id=0
        ),
        sums_up_by_both=True,
    )


def make_joint_backbone(block: int = 1, **config: Any) -> JointBackbone:
    return JointBackbone(
        vae=make_shifted_vae(),
        transformer=make_sd3_transformer(**config),
        text=make_joint_texts(),
        block=block,
    )


def save_joint(folder: Path, parts: JointBackbone) -> None:
    """Write a model as Stable Diffusion 3's folders are, without T5."""
    parts.vae.save_pretrained(folder / "vae")
    parts.transformer.save_pretrained(folder / "transformer")
    parts.text.encoder.save_pretrained(folder / "text_encoder")
    parts.text.tokenizer.save_pretrained(folder / "tokenizer")
    parts.text.second_encoder.save_pretrained(folder / "text_encoder_2")
    padded_with_nought().save_pretrained(folder / "tokenizer_2")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")


def padded_with_nought() -> Any:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    return tokenizer


T5_WIDTH = 20
T5_WINDOW = 100
PIXART_BLOCKS = 6


def make_t5_tokenizer() -> Any:
    """Letters and a few words; a word's first piece bears the mark of the space."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,"
    pieces = ["▁", *letters, *(f"▁{one}" for one in letters)]
    words = ["▁cat", "▁dog", "▁traffic", "▁light", "▁sofa", "▁tree", "ight"]
    vocab = [(piece, -5.0) for piece in pieces] + [(word, -2.0) for word in words]
    tokenizer = T5Tokenizer(vocab=[*special, *vocab], extra_ids=0)
    tokenizer.model_max_length = T5_WINDOW
    return tokenizer


def make_t5(tokenizer: Any) -> T5TextEncoder:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        initializer_factor=3.0,
    )
    return T5TextEncoder(tokenizer, prepare(T5EncoderModel(config), CPU))


def make_pixart_transformer(**config: Any) -> Any:
    """PixArt-Sigma scaled down; alpha is told of the picture's size beside."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": PIXART_BLOCKS,
        "cross_attention_dim": 24,
        "sample_size": LATENT_SIDE,
        "patch_size": 2,
        "caption_channels": T5_WIDTH,
        "use_additional_conditions": False,
    }
    transformer = PixArtTransformer2DModel(**(settings | config))
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight")):
                parameter.mul_(_CONTRAST)
    return prepare(transformer, CPU)


ALPHA = {"use_additional_conditions": True}


def make_pixart_backbone(**config: Any) -> PixArtBackbone:
    return PixArtBackbone(
        vae=make_vae(),
        transformer=make_pixart_transformer(**config),
        text=make_t5(in_lower_case(make_t5_tokenizer())),
        scheduler=make_scheduler(),
    )


def save_pixart(folder: Path, parts: PixArtBackbone) -> None:
    """Write a model as PixArt's folders are."""
    parts.vae.save_pretrained(folder / "vae")
    parts.transformer.save_pretrained(folder / "transformer")
    parts.text.encoder.save_pretrained(folder / "text_encoder")
    # As it is trained with, in either case.
    make_t5_tokenizer().save_pretrained(folder / "tokenizer")
    parts.scheduler.save_pretrained(folder / "scheduler")
