"""A model's source in, a `JointBackbone` out.

Stable Diffusion 3 and 3.5: diffusers layout, safetensors only. Of the transformer the
blocks up to the one that is read are loaded; T5, which is larger than all else, is not.
"""

import logging
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from segmenter.backbones.clip_texts import load_clip_tokenizer, padding_id
from segmenter.backbones.joint.backbone import JointBackbone
from segmenter.backbones.joint.blocks import (
    drop_behind,
    ending_behind,
    find_block,
    known_block,
)
from segmenter.backbones.parts import PartLoader, check_takes_latents
from segmenter.errors import UnsupportedModel
from segmenter.source import ModelSource
from segmenter.text import TextEncoders
from segmenter.weights import read_config

logger = logging.getLogger(__name__)

_HINT: Final = "reading.json"


def load_joint(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compiles: bool = False,
) -> JointBackbone:
    """Load the parts that attention is read from.

    Args:
        source: of the model; a `reading.json` beside its folders may name the block.
        device: where it will run.
        dtype: of transformer, VAE and text encoders.
        compiles: let torch compile what it can, see `JointBackbone.compile`.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
        UnsupportedModel: if the parts are not of one model, or the transformer takes
            more than a latent.
    """
    config = read_config(source, "transformer") or {}
    check_takes_latents(
        source,
        config,
        default_channels=16,
        use_instead="Stable Diffusion 3 or 3.5 (medium)",
    )
    block = known_block(config, read_config(source, "", _HINT) or {})
    parts = PartLoader(source=source, device=device, dtype=dtype)
    text = _load_texts(parts)
    transformer = parts.load(
        SD3Transformer2DModel if block is None else ending_behind(block), "transformer"
    )
    _check_widths(source, transformer, text)
    if block is None:
        block = find_block(transformer, text)
        drop_behind(transformer, block)
        logger.info("Of %s block %d is read.", source.name, block)
    backbone = JointBackbone(
        vae=parts.vae(), transformer=transformer, text=text, block=block
    )
    if compiles:
        backbone.compile()
    return backbone


class _TextHalf(CLIPTextModelWithProjection):  # type: ignore[misc]
    """Reads a whole CLIP model's folder as well, of which it needs one half."""

    _keys_to_ignore_on_load_unexpected = (r"vision_model\.", r"visual_", r"logit_scale")


def _load_texts(parts: PartLoader) -> TextEncoders:
    source = parts.source
    first_config = read_config(source, "text_encoder") or {}
    has_projection = "CLIPTextModel" not in (first_config.get("architectures") or ())
    encoder = parts.load(
        CLIPTextModelWithProjection if has_projection else CLIPTextModel,
        "text_encoder",
    )
    second = parts.load(_TextHalf, "text_encoder_2")
    return TextEncoders(
        load_clip_tokenizer(source, "tokenizer", encoder),
        encoder,
        second_encoder=second,
        second_padding_id=padding_id(
            source,
            "tokenizer_2",
            load_clip_tokenizer(source, "tokenizer_2", second),
        ),
        sums_up_by_both=True,
    )


def _check_widths(source: ModelSource, transformer: Any, text: TextEncoders) -> None:
    """Refuse texts that the transformer was not trained with.

    What is wider than it reads would be cut without a word.
    """
    empty = text.encode_texts([""])
    assert empty.pooled is not None
    width, pooled = empty.context.shape[2], empty.pooled.shape[1]
    config = transformer.config
    if width > config.joint_attention_dim or pooled != config.pooled_projection_dim:
        raise UnsupportedModel(
            f"The text encoders of {source.location} give {width} numbers a token and "
            f"{pooled} a text; its transformer reads up to "
            f"{config.joint_attention_dim} and {config.pooled_projection_dim}. Take "
            f"all parts of one model."
        )
