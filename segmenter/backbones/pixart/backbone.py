"""PixArt-alpha or PixArt-Sigma, and how it is read. See `protocol`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from segmenter.backbones.compilation import compile_parts
from segmenter.backbones.cross_attention import LayerPlan, VocabularyKeys, read_pass
from segmenter.backbones.latents import (
    add_noise,
    as_encoder,
    encode_latents,
    latent_geometry,
)
from segmenter.backbones.protocol import Geometry, Sample, SampleReading
from segmenter.options import SegmenterOptions, SelfAttentionLayers
from segmenter.text import T5TextEncoder

# Of PixArt-Sigma's 28 blocks, GoCA (arXiv 2603.06178) refines by the self-attention of
# 10 to 17, and tells cells apart by what comes into the cross-attention of 13.
_N_BLOCKS: Final = 28
_REFINING: Final = (10, 18)
_TELLING: Final = 13


@dataclass(frozen=True, kw_only=True, eq=False)
class PixArtBackbone:
    """The parts of PixArt, in evaluation mode on one device.

    Attributes:
        vae: diffusers `AutoencoderKL`.
        transformer: diffusers `PixArtTransformer2DModel`.
        text: its text encoder.
        scheduler: anything with `add_noise`.
    """

    vae: Any
    transformer: Any
    text: T5TextEncoder
    scheduler: Any

    @property
    def device(self) -> torch.device:
        """Where the transformer runs."""
        return torch.device(self.transformer.device)

    @property
    def geometry(self) -> Geometry:
        """See `Backbone`; a block is a patch, which the transformer sees as one."""
        patch = int(self.transformer.config.patch_size)
        return latent_geometry(self.vae, self.transformer, block_cells=patch)

    def reader(self, options: SegmenterOptions) -> "PixArtReader":
        """See `Backbone`."""
        return PixArtReader(self, options)

    def compile(self) -> None:
        """See `compile_parts`."""
        compile_parts(self.vae, self.transformer)


class PixArtReader:
    """PixArt under one set of options; see `AttentionReader`."""

    def __init__(self, backbone: PixArtBackbone, options: SegmenterOptions) -> None:
        """Plan which layers to read."""
        self._backbone = backbone
        self._timestep = options.timestep
        # Layers project keys from what this makes of a text.
        self._keys = VocabularyKeys(backbone.transformer.caption_projection)
        self._plan = plan_blocks(
            len(backbone.transformer.transformer_blocks),
            depth=backbone.geometry.block_cells.bit_length() - 1,
            self_attention_products=options.self_attention_products,
            self_attention_layers=options.self_attention_layers,
        )

    @property
    def map_cell(self) -> int:
        """Maps have a cell for each patch."""
        return self._backbone.geometry.block_cells

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
        """See `AttentionReader`; one pass, which stops in the last layer read."""
        transformer = self._backbone.transformer
        latents = torch.stack([sample.latent for sample in samples])
        texts = [sample.text for sample in samples]
        masks = [text.mask for text in texts if text.mask is not None]

        def run() -> None:
            transformer(
                latents.to(transformer.dtype),
                encoder_hidden_states=torch.cat([text.context for text in texts]).to(
                    transformer.dtype
                ),
                encoder_attention_mask=torch.cat(masks),
                timestep=torch.full(
                    (len(samples),), self._timestep, device=latents.device
                ),
                added_cond_kwargs=self._sizes(latents),
                return_dict=False,
            )

        return read_pass(transformer, run, samples, self._plan, self._keys)

    def _sizes(self, latents: Tensor) -> dict[str, Tensor | None]:
        """What PixArt-alpha at 1024 pixels wants to know of the picture, in pixels."""
        if not self._backbone.transformer.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        rows, columns = (
            side * self._backbone.geometry.cell_px for side in latents.shape[2:]
        )
        both = torch.tensor([[rows, columns]]).to(latents)
        ratio = torch.tensor([[rows / columns]]).to(latents)
        n_samples = len(latents)
        return {
            "resolution": both.expand(n_samples, -1),
            "aspect_ratio": ratio.expand(n_samples, -1),
        }


def plan_blocks(
    n_blocks: int,
    *,
    depth: int,
    self_attention_products: int,
    self_attention_layers: SelfAttentionLayers,
) -> LayerPlan:
    """Choose what is read: the cross-attention of all blocks, as GoCA does.

    Args:
        n_blocks: of the transformer; what holds of PixArt's 28 is scaled to others.
        depth: halvings of the latent that a patch makes.
        self_attention_products: 0 keeps no self-attention.
        self_attention_layers: "all" blocks' refine the maps, or those in the middle:
            with "decoder", for there is none.
    """
    first, end = (round(edge * n_blocks / _N_BLOCKS) for edge in _REFINING)
    if self_attention_layers == "all":
        first, end = 0, n_blocks
    elif first == end:
        end = first + 1
    refining = range(first, end) if self_attention_products else range(0)
    telling = f"transformer_blocks.{_TELLING * n_blocks // _N_BLOCKS}.attn2"
    cross = [f"transformer_blocks.{block}.attn2" for block in range(n_blocks)]
    return LayerPlan(
        cross=dict.fromkeys(cross, depth),
        weights={depth: 1.0},
        self_attention=frozenset(
            f"transformer_blocks.{block}.attn1" for block in refining
        ),
        depth=depth,
        features={telling: depth},
        depths={telling: depth},
        last=cross[-1],
    )
