"""A model's source in, the captioner and the image-text model beside it out.

A directory may bring its own (`captioner/`, `image_text/`, as the pocket model does);
otherwise the paper's are taken from the hub.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    BertTokenizer,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
)

from segmenter.errors import WeightsNotFound
from segmenter.source import ModelSource
from segmenter.weights import load_part, load_tokenizer, load_weights, prepare

CAPTIONER: Final = "Salesforce/blip-image-captioning-large"
IMAGE_TEXT: Final = "openai/clip-vit-large-patch14"

_NO_PRESENCE: Final = (
    "do without telling which labels are there (PRESENCE=off, --presence off)"
)
_NO_CAPTIONS: Final = (
    "do without captions (CAPTION=off, --no-caption, and PRESENCE other than paper)"
)


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


def load_captioner(source: ModelSource, *, device: torch.device) -> Captioner:
    """Load the captioner that comes with the model, or the paper's (BLIP large).

    Raises:
        WeightsNotFound: if it is damaged, or missing with the hub out of reach.
    """
    with _bundled_or_hub(source, "captioner", CAPTIONER, _NO_CAPTIONS) as (own, folder):
        model = load_weights(BlipForConditionalGeneration, own, folder)
        return Captioner(
            model=prepare(model, device),
            tokenizer=_load_tokenizer(BertTokenizer, own, folder, model),
            image_processor=load_part(BlipImageProcessorPil, own, folder),
        )


def load_image_text(source: ModelSource, *, device: torch.device) -> ImageText:
    """Load the image-text model that comes with the model, or CLIP ViT-L/14.

    Raises:
        WeightsNotFound: if it is damaged, or missing with the hub out of reach.
    """
    with _bundled_or_hub(source, "image_text", IMAGE_TEXT, _NO_PRESENCE) as (
        own,
        folder,
    ):
        # CPUs are slower in the half precision that the file may have.
        model = load_weights(CLIPModel, own, folder, torch_dtype=torch.float32)
        return ImageText(
            model=prepare(model, device),
            tokenizer=_load_tokenizer(CLIPTokenizer, own, folder, model),
            image_processor=load_part(CLIPImageProcessorPil, own, folder),
        )


def _load_tokenizer(loader: Any, own: ModelSource, folder: str, model: Any) -> Any:
    return load_tokenizer(
        loader,
        own,
        folder,
        vocabulary=model.config.text_config.vocab_size,
        window=model.config.text_config.max_position_embeddings,
    )


@contextmanager
def _bundled_or_hub(
    source: ModelSource, folder: str, hub_id: str, how_without: str
) -> Iterator[tuple[ModelSource, str]]:
    """Where to load it from; a failure there says how to do without."""
    own, part = source.find_part(folder)
    if own.is_directory and (Path(own.location) / part).is_dir():
        yield own, part
        return
    try:
        yield ModelSource.parse(hub_id), ""
    except WeightsNotFound as error:
        raise WeightsNotFound(
            source.location,
            f"it brings no folder {folder}, and {error.cause}; put that model into "
            f"{folder} in a folder of the model, or {how_without}",
        ) from error
