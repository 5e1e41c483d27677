"""The heavy door: images and labels in, score maps and masks out. Owns the device.

Load once, segment often; thread-safe (one forward at a time, because the attention
processors of a model are its own).
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

from segmenter.backbones import Backbone, load_backbone
from segmenter.errors import BadImage, UnusableDevice
from segmenter.masks import cut_masks
from segmenter.modes import (
    FastMode,
    Passes,
    Request,
    paper_maps,
    size_yx,
    wordless_layers,
)
from segmenter.options import SegmenterOptions
from segmenter.presence import (
    AuxiliaryModels,
    Calibration,
    Captioner,
    ImageText,
    competition_weights,
    load_calibration,
    load_captioner,
    load_image_text,
)
from segmenter.recipes import find_recipe, recipe_options
from segmenter.source import ModelSource
from segmenter.text import check_label
from segmenter.types import ScoreMaps, Segmentation
from segmenter.weights import (
    first_line,
    is_device_error,
    pick_device,
    pick_dtype,
    try_out,
)

logger = logging.getLogger(__name__)

# Options that a segmenter is ready to segment under at a time.
_KEPT_OPTIONS: Final = 4

_Pair = tuple[NDArray[np.uint8], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """One set of options, ready to run."""

    options: SegmenterOptions
    passes: Passes
    fast: FastMode


class Segmenter:
    """A training-free diffusion segmenter on one device."""

    def __init__(
        self,
        backbone: Backbone,
        options: SegmenterOptions,
        *,
        captioner: Callable[[], Captioner] | None = None,
        image_text: Callable[[], ImageText] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Take loaded models; `load_segmenter` is the usual way here.

        Args:
            backbone: the diffusion model.
            options: how to segment where no others are asked for.
            captioner: loads what captions, and the paper's presence filter, need;
                called once, when options that need it are first used.
            image_text: the same for what both presence filters need.
            calibration: of the calibrated one; None takes the default.

        Raises:
            ValueError: if an option asks for a part that is not given.
            WeightsNotFound: if that part cannot be loaded.
            UnsupportedModel: if the model has no attention that can be read.
        """
        self.options = options
        self._backbone = backbone
        self._auxiliary = AuxiliaryModels(
            captioner, image_text, calibration or Calibration()
        )
        self._prepared: OrderedDict[SegmenterOptions, _Prepared] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        # Images that are best given together: in fast mode they share a pass.
        self.images_per_pass: Final = self._prepare(options).passes.max_batch

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
        scored = self.score(images, labels, options=options)
        return [
            self.cut(image, maps, options=options)
            for image, maps in zip(images, scored, strict=True)
        ]

    def cut(
        self,
        image: NDArray[np.uint8],
        maps: ScoreMaps,
        *,
        options: SegmenterOptions | None = None,
    ) -> Segmentation:
        """Cut an image's score maps at the options' thresholds; see `segment`."""
        options = options or self.options
        return cut_masks(
            maps,
            threshold=options.threshold,
            presence_threshold=options.presence_threshold,
            pixels=image if options.boundaries == "guided" else None,
        )

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
            prepared = self._prepare(options or self.options)
            unique = [(image, tuple(dict.fromkeys(names))) for image, names in pairs]
            scored = (
                self._score_fast(unique, prepared)
                if prepared.options.mode == "fast"
                else (self._score_paper(pair, prepared) for pair in unique)
            )
            return [
                _in_order(maps, names)
                for maps, (_, names) in zip(scored, pairs, strict=True)
            ]

    def _prepare(self, options: SegmenterOptions) -> _Prepared:
        """The options, checked and planned when they are first asked for."""
        if options not in self._prepared:
            self._auxiliary.load_for(options)
            passes = Passes(self._backbone, options)
            self._prepared[options] = _Prepared(
                options=options, passes=passes, fast=FastMode(passes)
            )
            if len(self._prepared) > _KEPT_OPTIONS:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(options)
        return self._prepared[options]

    def _score_fast(
        self, pairs: Sequence[_Pair], prepared: _Prepared
    ) -> Iterator[ScoreMaps]:
        """Many images, several in a pass."""
        asked = [
            Request(
                image=image,
                labels=labels,
                caption=self._auxiliary.caption(image)
                if prepared.options.caption
                else "",
            )
            for image, labels in pairs
            if labels
        ]
        readings = prepared.fast.read(asked)
        for image, labels in pairs:
            if not labels:
                yield self._no_maps(image, prepared)
                continue
            (reading,) = islice(readings, 1)
            presence = self._auxiliary.presence(
                image,
                labels,
                prepared.options,
                evidence=reading.evidence,
                # Windows are there for small things, which the whole hides.
                parts=reading.layout.cut_image(image) if reading.whole else (),
            )
            yield ScoreMaps(
                labels=labels,
                maps=prepared.fast.maps(
                    reading,
                    torch.from_numpy(
                        competition_weights(presence, prepared.options.presence)
                    ),
                ),
                presence=presence,
                size_yx=size_yx(image),
                features=reading.features,
                layers=reading.layers(self._auxiliary.patches(image, prepared.options)),
            )

    def _score_paper(self, pair: _Pair, prepared: _Prepared) -> ScoreMaps:
        """One image, one pass per label that the filter keeps."""
        image, labels = pair
        presence = self._auxiliary.presence(image, labels, prepared.options)
        kept = np.flatnonzero(presence >= prepared.options.presence_threshold)
        prompts = self._auxiliary.prompts(
            image, [labels[i] for i in kept], prepared.options
        )
        patches = self._auxiliary.patches(image, prepared.options)
        maps, features, layers = paper_maps(
            prepared.passes, image, prompts, patches=patches
        )
        if not prompts:
            layers = wordless_layers(prepared.passes, image, patches)
        full = np.zeros((len(labels), *maps.shape[1:]), np.float16)
        full[kept] = maps
        return ScoreMaps(
            labels=labels,
            maps=full,
            presence=presence,
            size_yx=size_yx(image),
            features=features,
            layers=layers,
        )

    def _no_maps(self, image: NDArray[np.uint8], prepared: _Prepared) -> ScoreMaps:
        """Of an image in which no word is looked for, though what it shows may be."""
        layout = prepared.passes.map_layout(prepared.passes.lay_out(size_yx(image)))
        return ScoreMaps(
            labels=(),
            maps=np.zeros((0, *layout.canvas_yx), np.float16),
            presence=np.zeros(0, np.float32),
            size_yx=size_yx(image),
            layers=wordless_layers(
                prepared.passes,
                image,
                self._auxiliary.patches(image, prepared.options),
            ),
        )


def _in_order(maps: ScoreMaps, labels: tuple[str, ...]) -> ScoreMaps:
    """As asked: labels in their order, a repeated one repeated."""
    if maps.labels == labels:
        return maps
    indices = [maps.labels.index(label) for label in labels]
    return replace(
        maps, labels=labels, maps=maps.maps[indices], presence=maps.presence[indices]
    )


def load_segmenter(
    model: str = "pocket",
    options: SegmenterOptions | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    compiles: bool = False,
) -> Segmenter:
    """Load a model by name, with the auxiliary models that the options need.

    Args:
        model: "pocket", a directory in diffusers layout, or a hub id, optionally
            with @revision.
        options: how to segment; None for fast mode by the recipe of the model's
            family (`recipes`).
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the diffusion model's parts: "auto", "float32",
            "bfloat16", "float16"; see `weights.pick_dtype`.
        compiles: let torch compile what it can at the first images.

    Raises:
        WeightsNotFound: if a part cannot be loaded.
        UnsupportedModel: if the model's attention cannot be read.
        UnusableDevice: if the device is not there, or too small.
        UnusablePrecision: if there is no such precision, or not on that device.
    """
    source = ModelSource.parse(model)
    torch_device = pick_device(device)
    precision = pick_dtype(torch_device, dtype)
    try_out(torch_device, precision)
    try:
        return _load(
            source,
            options or recipe_options(find_recipe(source), "fast", {}),
            device=torch_device,
            dtype=precision,
            compiles=compiles,
        )
    except RuntimeError as error:
        if is_device_error(error):
            raise UnusableDevice(device, first_line(error)) from error
        raise


def _load(
    source: ModelSource,
    options: SegmenterOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compiles: bool,
) -> Segmenter:
    backbone = load_backbone(source, device=device, dtype=dtype, compiles=compiles)
    segmenter = Segmenter(
        backbone,
        options,
        captioner=lambda: load_captioner(source, device=device),
        image_text=lambda: load_image_text(source, device=device),
        calibration=load_calibration(source),
    )
    logger.info("Loaded %s on %s in %s.", source.name, device, dtype)
    return segmenter


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
