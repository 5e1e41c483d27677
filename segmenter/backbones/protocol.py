"""What a family of diffusion models must do, so that its attention becomes masks.

A `Backbone` is one loaded model; its `AttentionReader` is the same under one set of
options. The modes give samples (a noised latent, the text that drives the pass, and as
data which tokens they want to know of) and get maps of attention back. Where in the
model attention is read, how, and how often the model runs for that, nobody else knows:

* a U-Net reads cross-attention at several depths and projects the keys of tokens that
  the pass never saw from their embeddings, once for all images;
* a transformer with joint attention has one grid, and keys that the image has changed:
  it runs further passes, or a side stream, for texts beside the one that drives it.

Axis letters:

    n  samples of a batch    C  latent channels    h, w  latent cells    Y, X  pixels
    N  texts                 K  tokens of a text's window    D  width of an embedding
    T  tokens in one softmax          R  rows that are read, each some tokens' mean
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from segmenter.options import SegmenterOptions
from segmenter.source import ModelSource
from segmenter.text import TextEncoder, TextEncoding


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The sizes that windows and noise are made in.

    Attributes:
        cell_px: pixels that a latent cell is wide.
        block_cells: latent cells whose multiples the sides of a window are, so that
            every grid of the model has whole cells: what a U-Net's coarsest level or a
            transformer's patch makes one of.
        side_cells: latent cells along the square that the model was trained on.
        latent_channels: C.
    """

    cell_px: int
    block_cells: int
    side_cells: int
    latent_channels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptTokens:
    """Rows among the tokens of the very text that drives the pass.

    One softmax over all tokens that the model itself attends to.

    Attributes:
        weights: float (R, K), rows sum to 1.
    """

    weights: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class VocabularyTokens:
    """Rows among the tokens of several texts, as if they had been one.

    The T tokens that are kept share a softmax, though only the first text drives the
    pass. One object stands for one vocabulary in any number of images: what a backbone
    computes of the texts alone it may keep for as long as the object lives.

    Attributes:
        texts: N of them; the first one is the samples' `text`.
        kept: bool (N, K), the T tokens.
        weights: float (R, T), rows sum to 1; T in the row-major order of `kept`.
    """

    texts: TextEncoding
    kept: Tensor
    weights: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One latent under one text.

    Attributes:
        latent: float (C, h, w), noised, see `AttentionReader.add_noise`.
        text: what drives the pass, a batch of one.
        tokens: which tokens to read. Samples that are read for the same ones share
            the object.
    """

    latent: Tensor
    text: TextEncoding
    tokens: PromptTokens | VocabularyTokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """Attention on one grid of the model.

    Attributes:
        maps: float32 (R, rows, columns) in [0, 1], mean over the layers and heads that
            attend on this grid. As attention is: nothing is stretched.
        weight: of the level among all, above 0; the options' where they name levels.
    """

    maps: Tensor
    weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleReading:
    """What was read of one sample.

    Attributes:
        levels: coarsest first, at least one; a model with one grid has one.
        refine: spreads maps by the model's self-attention in this very pass: float
            (M, rows, columns) on the maps' grid to float32 of the same shape, any M.
            Each result cell is a mean of cells by how much it attends to them. Not
            called where the options apply no self-attention.
        layers: what the model knew of each cell at every depth that was read, whatever
            it is of; as `features`, and in the same order for all samples.
        features: what the model knew of each cell, by which cells of one object are
            told from others: float (C, rows, columns) each, of any layers that were
            read anyway, on any grids and of any scale; none where there are none.
    """

    levels: tuple[Level, ...]
    refine: Callable[[Tensor], Tensor]
    features: tuple[Tensor, ...] = ()
    layers: tuple[Tensor, ...] = ()


class AttentionReader(Protocol):
    """A model under one set of options. Not thread-safe."""

    @property
    def map_cell(self) -> int:
        """Latent cells that a cell of the maps is wide; divides `block_cells`."""

    def encode(self, pixels: Tensor, *, jitter: Tensor | None) -> Tensor:
        """Encode windows, without noise.

        Args:
            pixels: float32 (n, 3, Y, X) in [-1, 1], Y and X multiples of `cell_px`.
            jitter: float32 (n, C, h, w), standard normal, on the CPU, to take a sample
                of the encoder's posterior; None takes its mean.

        Returns:
            float (n, C, h, w), scaled as the model takes them.
        """

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Noise latents as far as the options' timestep says.

        Args:
            latents: float32 (n, C, h, w) on the CPU, what `encode` gave.
            noise: the same, standard normal.

        Returns:
            float (n, C, h, w), in whatever dtype and place `read` takes them.
        """

    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        """Read a batch, in as few passes as the model allows.

        Args:
            samples: n of them, whose latents have one size.

        Returns:
            One reading per sample, in their order. No result depends on what else is
            in the batch.

        Raises:
            UnsupportedModel: if the model attends on other grids than it should.
        """


class Backbone(Protocol):
    """One loaded model, in evaluation mode on one device."""

    @property
    def text(self) -> TextEncoder:
        """What makes token embeddings for this model."""

    @property
    def geometry(self) -> Geometry:
        """Its sizes."""

    @property
    def device(self) -> torch.device:
        """Where passes run."""

    def reader(self, options: SegmenterOptions) -> AttentionReader:
        """Plan what to read under these options.

        Raises:
            UnsupportedModel: if the model lacks what they read.
        """


class BackboneLoader(Protocol):
    """Loads a model of one family."""

    def __call__(
        self,
        source: ModelSource,
        *,
        device: torch.device,
        dtype: torch.dtype,
        compiles: bool,
    ) -> Backbone:
        """See `registry.load_backbone`."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models.

    Attributes:
        class_names: diffusers' classes of the denoiser (`_class_name` of its
            configuration) that this family reads.
        load: loads such a model; parts that are never run need not be loaded.
    """

    class_names: frozenset[str]
    load: BackboneLoader
