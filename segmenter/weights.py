"""A model's source in, its parts in memory out. The only caller of from_pretrained.

Stable Diffusion 1, 2 and XL load the same way: diffusers layout, safetensors only;
what they are is read from their configurations, not from their names. A directory may
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
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)
from transformers.utils import logging as transformers_logging

from segmenter.errors import UnsupportedModel, WeightsNotFound
from segmenter.source import ModelSource
from segmenter.text.encoders import TextEncoders

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
    text: TextEncoders
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


DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pick_dtype(device: torch.device, wanted: str) -> torch.dtype:
    """Choose the precision of the diffusion model.

    Args:
        device: where it will run.
        wanted: "float32", "bfloat16", "float16", or "auto": float16 on CUDA, as
            published, and float32 elsewhere, where half precision is slower on most
            machines.

    Raises:
        ValueError: if it is none of these, or float16 on a CPU, which computes it
            slowly or not at all.
    """
    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted not in DTYPES:
        raise ValueError(f"dtype is {wanted!r}, not auto, {', '.join(DTYPES)}")
    if wanted == "float16" and device.type == "cpu":
        raise ValueError(
            "dtype is float16, which CPUs do not compute in; use float32, or bfloat16 "
            "where the processor has it."
        )
    return DTYPES[wanted]


def load_diffusion(
    source: ModelSource, *, device: torch.device, dtype: torch.dtype
) -> DiffusionParts:
    """Load the parts that attention is read from.

    Raises:
        WeightsNotFound: if a part is missing, damaged or out of reach.
        UnsupportedModel: if the U-Net takes more than a latent, as those made for
            inpainting do.
    """

    def weights(loader: Any, folder: str, precision: torch.dtype = dtype) -> Any:
        model = _load(
            loader, source, folder, torch_dtype=precision, use_safetensors=True
        )
        return prepare(model, device)

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
    return DiffusionParts(
        vae=vae,
        unet=unet,
        text=TextEncoders(
            _load_tokenizer(
                CLIPTokenizer, source, "tokenizer", encoder.config.vocab_size
            ),
            encoder,
            second_encoder=weights(CLIPTextModelWithProjection, "text_encoder_2")
            if has_two
            else None,
            second_padding_id=_load(CLIPTokenizer, source, "tokenizer_2").pad_token_id
            if has_two
            else 0,
        ),
        # Only the noise schedule is used; DDIM reads any scheduler's file.
        scheduler=_load(DDIMScheduler, source, "scheduler"),
    )


def prepare(model: Any, device: torch.device, *, channels_last: bool = True) -> Any:
    """Put a model to work: on its device, without gradients.

    Args:
        model: of any of the libraries.
        device: where it will run.
        channels_last: keep convolutions' weights in the order that both CPUs and
            tensor cores compute fastest in (README, Measured).
    """
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = model.to(device).to(memory_format=layout)
    return model.eval().requires_grad_(False)


def load_captioner(source: ModelSource, *, device: torch.device) -> Captioner:
    """Load the captioner that comes with the model, or the paper's (BLIP large)."""
    place, folder = _companion(source, "captioner", CAPTIONER)
    model = _load(BlipForConditionalGeneration, place, folder, use_safetensors=True)
    return Captioner(
        model=prepare(model, device),
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
        model=prepare(model, device),
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
