"""A model's source in, its parts in memory out. The only caller of from_pretrained.

Every model loads the same way: diffusers layout, safetensors only. A directory may
bring its own captioner and image-text model (`captioner/`, `image_text/`, as the
pocket model does); otherwise the paper's are taken from the hub, and only when an
option needs them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import (
    BertTokenizer,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)
from transformers.utils import logging as transformers_logging

from segmenter.errors import WeightsNotFound
from segmenter.source import ModelSource

CAPTIONER: Final = "Salesforce/blip-image-captioning-large"
IMAGE_TEXT: Final = "openai/clip-vit-large-patch14"

# What the libraries below raise for files that are missing, damaged or of another
# shape than they expect.
_LOADING_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    LookupError,
    SafetensorError,
)

# A bar per part for files that load in a blink; downloads keep theirs.
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusionParts:
    """The parts of a latent diffusion model, in evaluation mode on one device."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Captioner:
    """BLIP and what prepares its inputs."""

    model: Any
    tokenizer: Any
    image_processor: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageText:
    """CLIP and what prepares its inputs."""

    model: Any
    tokenizer: Any
    image_processor: Any


def load_diffusion(
    source: ModelSource, *, device: torch.device, dtype: torch.dtype
) -> DiffusionParts:
    """Load the parts that attention is read from.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
    """

    def weights(loader: Any, folder: str) -> Any:
        model = _load(loader, source, folder, torch_dtype=dtype, use_safetensors=True)
        return model.to(device).eval().requires_grad_(False)

    text_encoder = weights(CLIPTextModel, "text_encoder")
    return DiffusionParts(
        vae=weights(AutoencoderKL, "vae"),
        unet=weights(UNet2DConditionModel, "unet"),
        text_encoder=text_encoder,
        tokenizer=_load_tokenizer(
            CLIPTokenizer, source, "tokenizer", text_encoder.config.vocab_size
        ),
        # Only the noise schedule is used; DDIM reads any scheduler's file.
        scheduler=_load(DDIMScheduler, source, "scheduler"),
    )


def load_captioner(source: ModelSource, *, device: torch.device) -> Captioner:
    """Load the captioner that comes with the model, or the paper's (BLIP large)."""
    place, folder = _companion(source, "captioner", CAPTIONER)
    model = _load(BlipForConditionalGeneration, place, folder, use_safetensors=True)
    return Captioner(
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=_load_tokenizer(
            BertTokenizer, place, folder, model.config.text_config.vocab_size
        ),
        image_processor=_load(BlipImageProcessorPil, place, folder),
    )


def load_image_text(source: ModelSource, *, device: torch.device) -> ImageText:
    """Load the image-text model that comes with the model, or CLIP ViT-L/14."""
    place, folder = _companion(source, "image_text", IMAGE_TEXT)
    model = _load(CLIPModel, place, folder, use_safetensors=True)
    return ImageText(
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=_load_tokenizer(
            CLIPTokenizer, place, folder, model.config.text_config.vocab_size
        ),
        image_processor=_load(CLIPImageProcessorPil, place, folder),
    )


def _companion(
    source: ModelSource, folder: str, hub_id: str
) -> tuple[ModelSource, str]:
    if source.is_directory and (Path(source.location) / folder).is_dir():
        return source, folder
    return ModelSource.parse(hub_id), ""


def _load_tokenizer(
    loader: Any, source: ModelSource, folder: str, vocabulary: int
) -> Any:
    """Load a tokenizer, and refuse the empty one that transformers makes of nothing."""
    tokenizer = _load(loader, source, folder)
    # Special tokens may be few more or less than the model's; half of all is not.
    if len(tokenizer) < vocabulary / 2:
        raise WeightsNotFound(
            source.location,
            f"{source.location}/{folder} holds a tokenizer of {len(tokenizer)} tokens "
            f"for a model that reads {vocabulary}; a vocabulary file is missing",
        )
    return tokenizer


def _load(loader: Any, source: ModelSource, folder: str, **how: Any) -> Any:
    try:
        return loader.from_pretrained(
            source.location, subfolder=folder, revision=source.revision, **how
        )
    except _LOADING_ERRORS as error:
        where = f"{source.location}/{folder}" if folder else source.location
        raise WeightsNotFound(
            source.location, f"{where} did not load ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
