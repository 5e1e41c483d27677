"""A latent diffusion model with joint attention, and how it is read. See `protocol`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segmenter.backbones.compilation import compile_parts
from segmenter.backbones.joint.reading import read_samples
from segmenter.backbones.latents import as_encoder, encode_latents, latent_geometry
from segmenter.backbones.protocol import Geometry, Sample, SampleReading
from segmenter.options import SegmenterOptions
from segmenter.text import TextEncoders


@dataclass(frozen=True, kw_only=True, eq=False)
class JointBackbone:
    """Stable Diffusion 3 or 3.5: its parts, in evaluation mode on one device.

    Attributes:
        vae: diffusers `AutoencoderKL`.
        transformer: diffusers `SD3Transformer2DModel`, whose blocks behind the one
            that is read may be missing.
        text: its two CLIP encoders.
        block: the one that is read.
    """

    vae: Any
    transformer: Any
    text: TextEncoders
    block: int

    @property
    def device(self) -> torch.device:
        """Where the transformer runs."""
        return torch.device(self.transformer.device)

    @property
    def geometry(self) -> Geometry:
        """See `Backbone`; a block is a patch, which the transformer sees as one."""
        patch = int(self.transformer.config.patch_size)
        return latent_geometry(self.vae, self.transformer, block_cells=patch)

    def reader(self, options: SegmenterOptions) -> "JointReader":
        """See `Backbone`."""
        return JointReader(self, options)

    def compile(self) -> None:
        """See `compile_parts`."""
        compile_parts(self.vae, self.transformer)


class JointReader:
    """Such a model under one set of options; see `AttentionReader`."""

    def __init__(self, backbone: JointBackbone, options: SegmenterOptions) -> None:
        """Read by the options' timestep, which is a thousandth of noise each."""
        self._backbone = backbone
        self._sigma_01 = options.timestep / 1000

    @property
    def map_cell(self) -> int:
        """Maps have a cell for each patch."""
        return self._backbone.geometry.block_cells

    def encode(self, pixels: Tensor, *, jitter: Tensor | None) -> Tensor:
        """See `AttentionReader`; in the VAE's dtype."""
        return encode_latents(self._backbone.vae, pixels, jitter)

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        """See `AttentionReader`; on the straight line from image to noise."""
        clean = as_encoder(self._backbone.vae, latents)
        return clean.lerp(noise.to(clean), self._sigma_01)

    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        """See `AttentionReader`; as many passes as the longest vocabulary has texts."""
        return read_samples(
            self._backbone.transformer,
            samples,
            block=self._backbone.block,
            sigma_01=self._sigma_01,
        )
