"""A model's source in, a `PixArtBackbone` out. Diffusers layout, safetensors only."""

from typing import Any, Final

import torch
from diffusers import DDIMScheduler, PixArtTransformer2DModel
from tokenizers import normalizers
from transformers import T5EncoderModel, T5Tokenizer

from segmenter.backbones.parts import PartLoader, check_takes_latents
from segmenter.backbones.pixart.backbone import PixArtBackbone
from segmenter.errors import UnsupportedModel
from segmenter.source import ModelSource
from segmenter.text import T5TextEncoder
from segmenter.weights import (
    load_part,
    load_tokenizer,
    read_config,
)

# Tokens of a text that the models were trained with.
_WINDOW: Final = 120
_WINDOW_OF_SIGMA: Final = 300


def load_pixart(
    source: ModelSource,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compiles: bool = False,
) -> PixArtBackbone:
    """Load the parts that attention is read from.

    Args:
        source: of the model.
        device: where it will run.
        dtype: of transformer, VAE and text encoder.
        compiles: let torch compile what it can, see `PixArtBackbone.compile`.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
        UnsupportedModel: if the parts are not of one model, or the transformer takes
            more than a latent.
    """
    _check_parts(source)
    parts = PartLoader(source=source, device=device, dtype=dtype)
    transformer = parts.load(PixArtTransformer2DModel, "transformer")
    vae = parts.vae()
    encoder = parts.load(T5EncoderModel, "text_encoder")
    index = read_config(source, "", "model_index.json") or {}
    is_sigma = index.get("_class_name") == "PixArtSigmaPipeline"
    tokenizer = load_tokenizer(
        T5Tokenizer,
        source,
        "tokenizer",
        vocabulary=encoder.config.vocab_size,
        window=_WINDOW_OF_SIGMA if is_sigma else _WINDOW,
    )
    backbone = PixArtBackbone(
        vae=vae,
        transformer=transformer,
        text=T5TextEncoder(in_lower_case(tokenizer), encoder),
        # Only the noise schedule is used; DDIM reads any scheduler's file.
        scheduler=load_part(DDIMScheduler, source, "scheduler"),
    )
    if compiles:
        backbone.compile()
    return backbone


def in_lower_case(tokenizer: Any) -> Any:
    """Have a tokenizer read texts as PixArt's captions were; offsets stay the text's.

    Args:
        tokenizer: a fast tokenizer, which is changed.
    """
    backend = tokenizer.backend_tokenizer
    known = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *known])
    return tokenizer


def _check_parts(source: ModelSource) -> None:
    """Refuse by configurations, before gigabytes are read.

    Raises:
        UnsupportedModel: see `load_pixart`.
    """
    config = read_config(source, "transformer") or {}
    check_takes_latents(source, config, default_channels=4, use_instead="PixArt-Sigma")
    width = (read_config(source, "text_encoder") or {}).get("d_model")
    if width is not None and width != config.get("caption_channels", width):
        raise UnsupportedModel(
            f"The text encoder of {source.location} gives {width} numbers a token; its "
            f"transformer reads {config['caption_channels']}. Take all parts of one "
            f"model."
        )
