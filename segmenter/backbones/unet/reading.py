"""Noised latents and texts in, what the plan reads of each U-Net pass out.

One engine for both modes: a sample is one latent under one text, a batch any number
of them. Axis letters:

    B  samples of a batch   C  channels   h, w  latent grid   H  heads   Q  query cells
    K  tokens of a text     T  tokens that are read           R  rows that are read
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from segmenter.backbones.capture import (
    AttentionCall,
    SeenEnough,
    attention_probabilities,
    capture,
)
from segmenter.backbones.unet.layers import LayerPlan
from segmenter.errors import UnsupportedModel
from segmenter.text.encoders import TextEncoding, added_conditions


class Rows(Protocol):
    """What is read of a cross-attention layer."""

    def of(self, call: AttentionCall) -> Tensor:
        """Attention to each row's tokens, summed over heads: float32 (B, R, Q)."""


class OwnRows:
    """Rows among the tokens of the very text that drives the pass."""

    def __init__(self, weights: Tensor) -> None:
        """Read by these weights: float (R, K), rows sum to 1."""
        self._weights = weights

    def of(self, call: AttentionCall) -> Tensor:
        """See `Rows`."""
        weights = self._weights.to(call.query.device)
        return torch.einsum("bhqk,rk->brq", call.probabilities(), weights)


class ReadOutRows:
    """Rows among tokens that need not be part of the text that drives the pass.

    The keys of every layer are projected once and kept, for all further images
    that the same words are looked for in.
    """

    def __init__(self, embeddings: Tensor, weights: Tensor) -> None:
        """Read these tokens.

        Args:
            embeddings: (T, D) of the text encoder.
            weights: float (R, T), rows sum to 1.
        """
        self._embeddings = embeddings
        self._weights = weights.to(embeddings.device)
        self._keys: dict[str, Tensor] = {}

    def of(self, call: AttentionCall) -> Tensor:
        """See `Rows`."""
        keys = self._keys.get(call.layer)
        if keys is None:
            keys = self._keys[call.layer] = call.project(self._embeddings[None])
        attention = attention_probabilities(call.query, keys, call.scale)
        return torch.einsum("bhqt,rt->brq", attention, self._weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One pass to be made.

    Attributes:
        latent: float (C, h, w), noised.
        text: what drives the pass, a batch of one.
        rows: what is read.
    """

    latent: Tensor
    text: TextEncoding
    rows: Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleReading:
    """What was read of one pass.

    Attributes:
        levels: by depth, mean attention over layers and heads: float32 (R, h_d, w_d).
        spreading: the self-attention layers that the plan keeps, batches of one.
    """

    levels: Mapping[int, Tensor]
    spreading: Sequence[AttentionCall]


@torch.no_grad()
def read_samples(
    unet: Any,
    samples: Sequence[Sample],
    plan: LayerPlan,
    *,
    timestep: int,
    cell_px: int,
) -> list[SampleReading]:
    """Run the U-Net on a batch, up to the last layer that the plan reads.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        samples: whose latents have one size.
        plan: what to read.
        timestep: the one that the latents were noised with.
        cell_px: pixels that a latent cell is wide.
    """
    latents = torch.stack([sample.latent for sample in samples]).to(unet.dtype)
    grid_yx = (latents.shape[2], latents.shape[3])
    record = _Record(plan, grid_yx, [sample.rows for sample in samples])
    pooled = [s.text.pooled for s in samples if s.text.pooled is not None]
    with capture(unet, record.read, layers=plan.names), suppress(SeenEnough):
        unet(
            latents,
            torch.full((len(samples),), timestep, device=latents.device),
            encoder_hidden_states=torch.cat([s.text.context for s in samples]),
            added_cond_kwargs=added_conditions(
                unet,
                torch.cat(pooled) if pooled else None,
                (grid_yx[0] * cell_px, grid_yx[1] * cell_px),
            ),
            return_dict=False,
        )
    return [record.sample(place) for place in range(len(samples))]


class _Record:
    """The reader of one batch."""

    def __init__(
        self, plan: LayerPlan, grid_yx: tuple[int, int], rows: Sequence[Rows]
    ) -> None:
        self._plan = plan
        self._grid_yx = grid_yx
        # Neighbours that are read for the same words are read together.
        self._groups: list[tuple[slice, Rows]] = []
        start = 0
        for _, same in groupby(rows, key=id):
            n_same = len(list(same))
            self._groups.append((slice(start, start + n_same), rows[start]))
            start += n_same
        self._sums: list[dict[int, Tensor]] = [{} for _ in rows]
        self._heads: dict[int, int] = {}
        self._spreading: list[AttentionCall] = []

    def read(self, call: AttentionCall) -> None:
        """Take one layer's attention; the reader to hand to `capture`."""
        depth = self._plan.cross.get(call.layer)
        if depth is None:
            self._spreading.append(call)
        else:
            self._heads[depth] = self._heads.get(depth, 0) + call.query.shape[1]
            for samples, rows in self._groups:
                read = rows.of(call.samples(samples))
                for place, own in zip(
                    range(samples.start, samples.stop), read, strict=True
                ):
                    sums = self._sums[place]
                    sums[depth] = sums[depth] + own if depth in sums else own
        if call.layer == self._plan.last:
            raise SeenEnough

    def sample(self, place: int) -> SampleReading:
        levels = {}
        for depth, total in self._sums[place].items():
            rows, columns = grid_at(self._grid_yx, depth)
            if total.shape[1] != rows * columns:
                raise UnsupportedModel(
                    f"The U-Net attends on {total.shape[1]} cells where a latent of "
                    f"{self._grid_yx} halved {depth} times has {rows * columns}."
                )
            levels[depth] = (total / self._heads[depth]).view(-1, rows, columns)
        own = slice(place, place + 1)
        return SampleReading(
            levels=levels, spreading=[call.samples(own) for call in self._spreading]
        )


def grid_at(latent_yx: tuple[int, int], depth: int) -> tuple[int, int]:
    """The grid after so many halvings.

    A stride-2 convolution with padding 1 halves upwards, so odd sizes do too.
    """
    rows, columns = latent_yx
    for _ in range(depth):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    return rows, columns
