"""The heavy door: images and labels in, score maps and masks out. Owns the device.

Load once, segment often; thread-safe (one forward at a time, because the attention
processors of a U-Net are its own).
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from segmenter.backbones.unet.layers import scan_layers
from segmenter.errors import BadImage
from segmenter.masks.cutting import cut_masks
from segmenter.modes.fast import FastMode, Request
from segmenter.modes.paper import paper_maps
from segmenter.modes.passes import Passes, size_yx
from segmenter.options import SegmenterOptions
from segmenter.presence.auxiliary import Companions
from segmenter.presence.calibration import Calibration, load_calibration
from segmenter.presence.scorer import competition_weights
from segmenter.source import ModelSource
from segmenter.text.encoders import added_conditions
from segmenter.text.prompts import check_label
from segmenter.types import ScoreMaps, Segmentation
from segmenter.weights import (
    Captioner,
    DiffusionParts,
    ImageText,
    load_captioner,
    load_diffusion,
    load_image_text,
    pick_dtype,
)

logger = logging.getLogger(__name__)

# Options that a segmenter is ready to segment under at a time.
_KEPT_RECIPES: Final = 4

_Pair = tuple[NDArray[np.uint8], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recipe:
    """One set of options, ready to run."""

    options: SegmenterOptions
    passes: Passes
    fast: FastMode


class Segmenter:
    """A training-free diffusion segmenter on one device."""

    def __init__(
        self,
        diffusion: DiffusionParts,
        options: SegmenterOptions,
        *,
        captioner: Callable[[], Captioner] | None = None,
        image_text: Callable[[], ImageText] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Take loaded parts; `load_segmenter` is the usual way here.

        Args:
            diffusion: all parts on one device.
            options: how to segment where no others are asked for.
            captioner: loads what captions, and the paper's presence filter, need;
                called once, when options that need it are first used.
            image_text: the same for what both presence filters need.
            calibration: of the calibrated one; None takes the default.

        Raises:
            ValueError: if an option asks for a part that is not given.
            WeightsNotFound: if that part cannot be loaded.
            UnsupportedModel: if the U-Net has no attention that can be read.
        """
        self.options = options
        self._parts = diffusion
        self._companions = Companions(
            captioner, image_text, calibration or Calibration()
        )
        self._recipes: OrderedDict[SegmenterOptions, _Recipe] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        with torch.inference_mode():
            empty = diffusion.text.encode_texts([""])
            self._layers = scan_layers(
                diffusion.unet,
                empty.context,
                added_conditions(diffusion.unet, empty.pooled, (8, 8)),
            )
        # Images that are best given together: in fast mode they share a pass.
        self.images_per_pass: Final = self._recipe(options).passes.most_at_once

    def segment(
        self,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[Sequence[str]],
        *,
        options: SegmenterOptions | None = None,
    ) -> list[Segmentation]:
        """Cut every image into its labels at the options' thresholds.

        Args:
            images: uint8 (Y, X, 3) each, RGB, upright; sizes may differ.
            labels: for each image, the labels to look for.
            options: how to segment; None for those it was made with.

        Raises:
            BadImage, BadLabel: naming the first one that cannot be read.
            ValueError: if the options need a part that was not given.
        """
        options = options or self.options
        return [
            cut_masks(
                maps,
                threshold=options.threshold,
                presence_threshold=options.presence_threshold,
                pixels=image if options.boundaries == "guided" else None,
            )
            for image, maps in zip(
                images, self.score(images, labels, options=options), strict=True
            )
        ]

    def score(
        self,
        images: Sequence[NDArray[np.uint8]],
        labels: Sequence[Sequence[str]],
        *,
        options: SegmenterOptions | None = None,
    ) -> list[ScoreMaps]:
        """Score maps of every image, before any threshold; see `segment`."""
        pairs = [
            (image, tuple(names)) for image, names in zip(images, labels, strict=True)
        ]
        for image, names in pairs:
            _check_image(image)
            for label in names:
                check_label(label)
        with self._one_at_a_time, torch.inference_mode():
            recipe = self._recipe(options or self.options)
            unique = [(image, tuple(dict.fromkeys(names))) for image, names in pairs]
            scored = (
                self._score_fast(unique, recipe)
                if recipe.options.mode == "fast"
                else (self._score_paper(pair, recipe) for pair in unique)
            )
            return [
                _in_order(maps, names)
                for maps, (_, names) in zip(scored, pairs, strict=True)
            ]

    def _recipe(self, options: SegmenterOptions) -> _Recipe:
        """The options, checked and planned when they are first asked for."""
        if options not in self._recipes:
            self._companions.load_for(options)
            passes = Passes(self._parts, options, self._layers)
            self._recipes[options] = _Recipe(
                options=options, passes=passes, fast=FastMode(passes)
            )
            if len(self._recipes) > _KEPT_RECIPES:
                self._recipes.popitem(last=False)
        self._recipes.move_to_end(options)
        return self._recipes[options]

    def _score_fast(
        self, pairs: Sequence[_Pair], recipe: _Recipe
    ) -> Iterator[ScoreMaps]:
        """Many images, several in a pass."""
        asked = [
            Request(
                image=image,
                labels=labels,
                caption=self._companions.caption(image)
                if recipe.options.caption
                else "",
            )
            for image, labels in pairs
            if labels
        ]
        readings = recipe.fast.read(asked)
        for image, labels in pairs:
            if not labels:
                yield _no_maps(image, recipe)
                continue
            (reading,) = islice(readings, 1)
            presence = self._companions.presence(
                image,
                labels,
                recipe.options,
                evidence=reading.evidence,
                # Windows are there for small things, which the whole hides.
                parts=reading.layout.cut_image(image) if reading.whole else (),
            )
            yield ScoreMaps(
                labels=labels,
                maps=recipe.fast.maps(
                    reading,
                    torch.from_numpy(
                        competition_weights(presence, recipe.options.presence)
                    ),
                ),
                presence=presence,
                size_yx=size_yx(image),
            )

    def _score_paper(self, pair: _Pair, recipe: _Recipe) -> ScoreMaps:
        """One image, one pass per label that the filter keeps."""
        image, labels = pair
        presence = self._companions.presence(image, labels, recipe.options)
        kept = np.flatnonzero(presence >= recipe.options.presence_threshold)
        prompts = self._companions.prompts(
            image, [labels[i] for i in kept], recipe.options
        )
        maps = paper_maps(recipe.passes, image, prompts)
        full = np.zeros((len(labels), *maps.shape[1:]), np.float16)
        full[kept] = maps
        return ScoreMaps(
            labels=labels,
            maps=full,
            presence=presence,
            size_yx=size_yx(image),
        )


def _in_order(maps: ScoreMaps, labels: tuple[str, ...]) -> ScoreMaps:
    """As asked: labels in their order, a repeated one repeated."""
    if maps.labels == labels:
        return maps
    places = [maps.labels.index(label) for label in labels]
    return replace(
        maps, labels=labels, maps=maps.maps[places], presence=maps.presence[places]
    )


def _no_maps(image: NDArray[np.uint8], recipe: _Recipe) -> ScoreMaps:
    """Of an image in which nothing is looked for."""
    layout = recipe.passes.map_layout(recipe.passes.lay_out(size_yx(image)))
    return ScoreMaps(
        labels=(),
        maps=np.zeros((0, *layout.canvas_yx), np.float16),
        presence=np.zeros(0, np.float32),
        size_yx=size_yx(image),
    )


def load_segmenter(
    model: str = "pocket",
    options: SegmenterOptions | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    compiles: bool = False,
) -> Segmenter:
    """Load a model by name, with the companions that the options need.

    Args:
        model: "pocket", a directory in diffusers layout, or a hub id, optionally
            with @revision.
        options: how to segment; the defaults are fast mode's.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the U-Net, the VAE and the text encoder: "auto", "float32",
            "bfloat16", "float16"; see `weights.pick_dtype`.
        compiles: let torch compile what it can at the first images; see
            `compilation`.

    Raises:
        WeightsNotFound: if a part cannot be loaded.
        UnsupportedModel: if the model's attention cannot be read.
    """
    options = options or SegmenterOptions()
    source = ModelSource.parse(model)
    place = torch.device(_resolve_device(device))
    precision = pick_dtype(place, dtype)
    diffusion = load_diffusion(source, device=place, dtype=precision)
    if compiles:
        # Brings a compiler along, which few need.
        from segmenter.backbones.unet.compilation import compile_parts

        compile_parts(diffusion)
    segmenter = Segmenter(
        diffusion,
        options,
        captioner=lambda: load_captioner(source, device=place),
        image_text=lambda: load_image_text(source, device=place),
        calibration=load_calibration(source),
    )
    logger.info("Loaded %s on %s in %s.", source.name, place, precision)
    return segmenter


def _resolve_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


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
