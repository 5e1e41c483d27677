"""The heavy door: images and labels in, score maps and masks out. Owns the device.

Load once, segment often; thread-safe (one forward at a time, because the attention
processors of a U-Net are its own).
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segmenter.attention import capture
from segmenter.captions import continue_texts
from segmenter.diffusion import forward_unet, noised_latent, to_model_input
from segmenter.errors import BadImage
from segmenter.maps import MapCollector
from segmenter.masks import cut_masks
from segmenter.options import SegmenterOptions
from segmenter.presence import paper_filter
from segmenter.prompts import (
    Prompt,
    build_prompt,
    check_label,
    embed_prompts,
    encode_prompts,
)
from segmenter.source import ModelSource
from segmenter.values import ScoreMaps, Segmentation
from segmenter.weights import (
    Captioner,
    DiffusionParts,
    ImageText,
    load_captioner,
    load_diffusion,
    load_image_text,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Models:
    diffusion: DiffusionParts
    captioner: Captioner | None
    image_text: ImageText | None


class Segmenter:
    """DiffSegmenter on one device."""

    def __init__(
        self,
        diffusion: DiffusionParts,
        options: SegmenterOptions,
        *,
        captioner: Captioner | None = None,
        image_text: ImageText | None = None,
    ) -> None:
        """Take loaded parts; `load_segmenter` is the usual way here.

        Args:
            diffusion: all parts on one device.
            options: how to segment.
            captioner: needed by `options.caption` and by the presence filter.
            image_text: needed by the presence filter.

        Raises:
            ValueError: if an option asks for a part that is not given.
        """
        if captioner is None and (options.caption or options.presence == "paper"):
            raise ValueError(
                "The options ask for captions and no captioner was given; pass one, or "
                "set caption=False and presence='off'."
            )
        if image_text is None and options.presence == "paper":
            raise ValueError(
                "presence='paper' compares image and text and no image-text model was "
                "given; pass one, or set presence='off'."
            )
        self.options = options
        self._models = _Models(
            diffusion=diffusion, captioner=captioner, image_text=image_text
        )
        self._one_at_a_time = threading.Lock()

    def segment(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[Sequence[str]]
    ) -> list[Segmentation]:
        """Cut every image into its labels at the options' threshold.

        Args:
            images: uint8 (Y, X, 3) each, RGB, upright; sizes may differ.
            labels: for each image, the labels to look for.

        Raises:
            BadImage, BadLabel: naming the first one that cannot be read.
        """
        return [
            cut_masks(maps, threshold=self.options.threshold)
            for maps in self.score(images, labels)
        ]

    def score(
        self, images: Sequence[NDArray[np.uint8]], labels: Sequence[Sequence[str]]
    ) -> list[ScoreMaps]:
        """Score maps of every image, before any threshold; see `segment`."""
        pairs = list(zip(images, labels, strict=True))
        for image, image_labels in pairs:
            _check_image(image)
            for label in image_labels:
                check_label(label)
        with self._one_at_a_time, torch.inference_mode():
            return [self._score_one(image, tuple(names)) for image, names in pairs]

    def _score_one(
        self, image: NDArray[np.uint8], labels: tuple[str, ...]
    ) -> ScoreMaps:
        unique = tuple(dict.fromkeys(labels))
        presence = self._presence(image, unique)
        asked = np.flatnonzero(presence >= 1.0)
        maps = self._maps(image, [unique[i] for i in asked])
        places = [unique.index(label) for label in labels]
        full = np.zeros((len(unique), *maps.shape[1:]), np.float16)
        full[asked] = maps
        return ScoreMaps(
            labels=labels,
            maps=full[places],
            presence=presence[places],
            size_yx=(image.shape[0], image.shape[1]),
        )

    def _presence(
        self, image: NDArray[np.uint8], labels: tuple[str, ...]
    ) -> NDArray[np.float32]:
        models = self._models
        if self.options.presence == "off" or not labels:
            return np.ones(len(labels), np.float32)
        assert models.captioner is not None
        assert models.image_text is not None
        (caption,) = continue_texts(models.captioner, image, [""])
        return paper_filter(
            models.image_text,
            image,
            labels,
            caption=caption,
            image_similarity=self.options.image_similarity,
            text_similarity=self.options.text_similarity,
        )

    def _prompts(self, image: NDArray[np.uint8], labels: Sequence[str]) -> list[Prompt]:
        options = self.options
        captions: Sequence[str | None] = [None] * len(labels)
        if options.caption and self._models.captioner is not None:
            prefixes = [options.template.replace("{label}", label) for label in labels]
            captions = continue_texts(self._models.captioner, image, prefixes)
        return [
            build_prompt(
                label,
                template=options.template,
                caption=caption,
                read_participle=options.read_participle,
            )
            for label, caption in zip(labels, captions, strict=True)
        ]

    def _maps(
        self, image: NDArray[np.uint8], labels: Sequence[str]
    ) -> NDArray[np.float16]:
        """Paper mode: one prompt per label, batched; float16 (L, h, w)."""
        options, parts = self.options, self._models.diffusion
        latent = noised_latent(
            parts.vae,
            parts.scheduler,
            to_model_input(image, side_px=_side_px(parts)),
            timestep=options.timestep,
            kind=options.latent,
            seed=options.seed,
        )
        grid = (latent.shape[2], latent.shape[3])
        prompts = self._prompts(image, labels)
        results = [np.zeros((0, *grid), np.float16)]
        for start in range(0, len(prompts), options.labels_per_pass):
            encoded = encode_prompts(
                parts.tokenizer, prompts[start : start + options.labels_per_pass]
            )
            context = embed_prompts(
                parts.text_encoder, parts.tokenizer, encoded, emphasis=options.emphasis
            )
            collector = MapCollector(
                encoded.read,
                latent_yx=grid,
                wants_self=options.self_attention_products > 0,
            )
            with capture(parts.unet, collector.read):
                forward_unet(parts.unet, latent, options.timestep, context)
            maps = collector.maps(
                level_weights=options.level_weights,
                self_attention_products=options.self_attention_products,
            )
            results.append(maps.to("cpu", torch.float16).numpy())
        return np.concatenate(results)


def load_segmenter(
    model: str = "pocket",
    options: SegmenterOptions | None = None,
    *,
    device: str = "auto",
) -> Segmenter:
    """Load a model by name, with the companions that the options need.

    Args:
        model: "pocket", a directory in diffusers layout, or a hub id, optionally
            with @revision.
        options: how to segment; the defaults are the paper's.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", "mps".
            Half precision on CUDA, as published; float32 elsewhere.

    Raises:
        WeightsNotFound: if a part cannot be loaded.
    """
    options = options or SegmenterOptions()
    source = ModelSource.parse(model)
    place = torch.device(_resolve_device(device))
    dtype = torch.float16 if place.type == "cuda" else torch.float32
    needs_captions = options.caption or options.presence == "paper"
    segmenter = Segmenter(
        load_diffusion(source, device=place, dtype=dtype),
        options,
        captioner=load_captioner(source, device=place) if needs_captions else None,
        image_text=load_image_text(source, device=place)
        if options.presence == "paper"
        else None,
    )
    logger.info("Loaded %s on %s in %s.", source.name, place, dtype)
    return segmenter


def _resolve_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _side_px(parts: DiffusionParts) -> int:
    """Side of the square that the model was trained on, in pixels."""
    halvings = len(parts.vae.config.block_out_channels) - 1
    return int(parts.unet.config.sample_size) << halvings


def _check_image(image: NDArray[np.uint8]) -> None:
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        raise BadImage(
            f"The image is {image.dtype} of shape {image.shape}; give uint8 of shape "
            f"(rows, columns, 3), RGB, with at least one pixel."
        )
