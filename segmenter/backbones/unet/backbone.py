"""A latent diffusion model with a U-Net, and how it is read. See `protocol`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from segmenter.backbones.compilation import compile_parts
from segmenter.backbones.cross_attention import VocabularyKeys
from segmenter.backbones.latents import (
    add_noise,
    as_encoder,
    encode_latents,
    latent_geometry,
)
from segmenter.backbones.protocol import Geometry, Sample, SampleReading
from segmenter.backbones.unet.inputs import added_conditions
from segmenter.backbones.unet.layers import Layer, plan_layers, scan_layers
from segmenter.backbones.unet.reading import read_samples
from segmenter.options import SegmenterOptions
from segmenter.text import TextEncoders


@dataclass(frozen=True, kw_only=True, eq=False)
class UNetBackbone:
    """Stable Diffusion 1, 2 or XL: its parts, in evaluation mode on one device.

    Attributes:
        vae: diffusers `AutoencoderKL`.
        unet: diffusers `UNet2DConditionModel`.
        text: its text encoders.
        scheduler: anything with `add_noise`.
    """

    vae: Any
    unet: Any
    text: TextEncoders
    scheduler: Any

    @property
    def device(self) -> torch.device:
        """Where the U-Net runs."""
        return torch.device(self.unet.device)

    @property
    def geometry(self) -> Geometry:
        """See `Backbone`; a block is a cell of the U-Net's coarsest level."""
        return latent_geometry(
            self.vae,
            self.unet,
            block_cells=1 << (len(self.unet.config.block_out_channels) - 1),
        )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The U-Net's attention layers, in the order of execution."""
        with torch.inference_mode():
            empty = self.text.encode_texts([""])
            return scan_layers(
                self.unet,
                empty.context,
                added_conditions(self.unet, empty.pooled, (8, 8)),
            )

    def reader(self, options: SegmenterOptions) -> "UNetReader":
        """See `Backbone`."""
        return UNetReader(self, options)

    def compile(self) -> None:
        """See `compile_parts`."""
        compile_parts(self.vae, self.unet)


class UNetReader:
    """A U-Net under one set of options; see `AttentionReader`."""

    def __init__(self, backbone: UNetBackbone, options: SegmenterOptions) -> None:
        """Plan which layers to read.

        Raises:
            UnsupportedModel: if the U-Net lacks what the options read.
        """
        self._backbone = backbone
        self._timestep = options.timestep
        self._keys = VocabularyKeys()
        self._plan = plan_layers(
            backbone.layers,
            level_weights=options.level_weights,
            self_attention_products=options.self_attention_products,
            self_attention_layers=options.self_attention_layers,
        )

    @property
    def map_cell(self) -> int:
        """Maps are as fine as the finest self-attention."""
        return 1 << self._plan.depth

    def encode(self, pixels: Tensor, *, jitter: Tensor | None) -> Tensor:
        """See `AttentionReader`; in the VAE's dtype."""
        return encode_latents(self._backbone.vae, pixels, jitter)

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        """See `AttentionReader`; in the VAE's dtype."""
        vae = self._backbone.vae
        return add_noise(
            self._backbone.scheduler,
            as_encoder(vae, latents),
            noise,
            timestep=self._timestep,
        )

    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        """See `AttentionReader`; one pass, which stops behind the last layer read."""
        return read_samples(
            self._backbone.unet,
            samples,
            self._plan,
            self._keys,
            timestep=self._timestep,
            cell_px=self._backbone.geometry.cell_px,
        )
