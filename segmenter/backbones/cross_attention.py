"""One pass of a model with cross-attention in, what a plan reads of it out.

For models whose layers attend to the image or to the text, whose keys the image does
not change. A sample is one latent under one text, a batch any number of them. Depth
counts halvings of the latent. Axis letters:

    B  samples of a batch   C  channels   h, w  latent grid   H  heads   Q  query cells
    K  tokens of a text     T  tokens that are read           R  rows that are read
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from segmenter.backbones.attention import (
    AttentionCall,
    StopForward,
    capture,
)
from segmenter.backbones.protocol import (
    Level,
    PromptTokens,
    Sample,
    SampleReading,
    VocabularyTokens,
)
from segmenter.backbones.self_attention import refine_by_self_attention
from segmenter.errors import UnsupportedModel


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """What to read of a forward pass.

    Attributes:
        cross: depth of each cross-attention layer to read, by name.
        weights: weight of each depth of those, coarsest first.
        self_attention: names of the self-attention layers to keep.
        depth: of the maps' grid.
        features: depth of each layer whose input says which cells are of one object,
            by name; all are read anyway.
        depths: of the layers whose inputs say what the model knows of each cell, by
            name; all are read anyway.
        last: the last layer to be read; nothing behind it is needed.
    """

    cross: Mapping[str, int]
    weights: Mapping[int, float]
    self_attention: frozenset[str]
    depth: int
    features: Mapping[str, int]
    depths: Mapping[str, int]
    last: str

    @property
    def names(self) -> frozenset[str]:
        """All layers to read."""
        return self.self_attention | self.cross.keys()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Vocabulary:
    """Tokens that are read beside the text that drives the pass.

    Attributes:
        embeddings: float (1, T, D), what layers project keys from.
        weights: float (R, T).
        keys: float (1, H, T, d) by layer, scaled, as far as they were projected.
    """

    embeddings: Tensor
    weights: Tensor
    keys: dict[str, Tensor] = field(default_factory=dict)


class VocabularyKeys:
    """Keys of vocabularies: each layer projects one once, for all further images."""

    def __init__(self, embed: Callable[[Tensor], Tensor] | None = None) -> None:
        """Take what the model makes of token embeddings before any layer sees them.

        Args:
            embed: float (1, T, D) to what layers project keys from; None for nothing.
        """
        self._embed = embed
        self._kept: WeakKeyDictionary[VocabularyTokens, _Vocabulary] = (
            WeakKeyDictionary()
        )

    def attention(self, tokens: VocabularyTokens, call: AttentionCall) -> Tensor:
        """Attention to each row's tokens, summed over heads: float32 (B, R, Q)."""
        vocabulary = self._kept.get(tokens)
        if vocabulary is None:
            vocabulary = self._kept[tokens] = self._vocabulary(tokens)
        keys = vocabulary.keys.get(call.layer)
        if keys is None:
            keys = call.project(vocabulary.embeddings) * call.scale
            vocabulary.keys[call.layer] = keys
        # Cells last: as many as there are, a CPU computes them side by side.
        scores = keys @ call.query.transpose(-1, -2)
        attention = scores.softmax(dim=-2, dtype=torch.float32)
        # Rows are fewer than tokens: of them the heads are summed.
        return (vocabulary.weights @ attention).sum(dim=1)

    def _vocabulary(self, tokens: VocabularyTokens) -> _Vocabulary:
        context = tokens.texts.context
        kept, weights = tokens.kept.to(context.device), tokens.weights
        mask = tokens.texts.mask
        if mask is not None:
            # The model is not shown what only fills the window.
            weights = weights[:, mask[kept].to(weights.device)]
            kept = kept & mask
        embeddings = context[kept][None]
        return _Vocabulary(
            embeddings=embeddings if self._embed is None else self._embed(embeddings),
            weights=weights.to(context.device),
        )


def read_pass(
    denoiser: Any,
    run: Callable[[], object],
    samples: Sequence[Sample],
    plan: LayerPlan,
    keys: VocabularyKeys,
) -> list[SampleReading]:
    """Run a model on a batch, up to the last layer that the plan reads.

    Args:
        denoiser: a diffusers model with `attn_processors`.
        run: makes the pass, of all samples in their order.
        samples: whose latents have one size.
        plan: what to read.
        keys: of the vocabularies that earlier batches were read for.
    """
    grid_yx = (samples[0].latent.shape[1], samples[0].latent.shape[2])
    record = _Record(plan, keys, grid_yx, [sample.tokens for sample in samples])
    with (
        torch.no_grad(),
        capture(denoiser, record.read, layers=plan.names),
        suppress(StopForward),
    ):
        run()
    return [record.sample(index) for index in range(len(samples))]


class _Record:
    """What the hook takes of one batch."""

    def __init__(
        self,
        plan: LayerPlan,
        keys: VocabularyKeys,
        grid_yx: tuple[int, int],
        tokens: Sequence[PromptTokens | VocabularyTokens],
    ) -> None:
        self._plan = plan
        self._keys = keys
        self._grid_yx = grid_yx
        # Neighbours that are read for the same tokens are read together.
        self._groups: list[tuple[slice, PromptTokens | VocabularyTokens]] = []
        start = 0
        for _, same in groupby(tokens, key=id):
            n_same = len(list(same))
            self._groups.append((slice(start, start + n_same), tokens[start]))
            start += n_same
        self._sums: list[dict[int, Tensor]] = [{} for _ in tokens]
        self._heads: dict[int, int] = {}
        self._self_attention: list[AttentionCall] = []
        self._states: dict[str, Tensor] = {}

    def read(self, call: AttentionCall) -> None:
        """Take one layer's attention; the hook to hand to `capture`."""
        if call.layer in self._plan.depths:
            self._states[call.layer] = call.states
        depth = self._plan.cross.get(call.layer)
        if depth is None:
            self._self_attention.append(call)
        else:
            self._heads[depth] = self._heads.get(depth, 0) + call.query.shape[1]
            for samples, tokens in self._groups:
                read = self._attention(tokens, call.samples(samples))
                for index, own in zip(
                    range(samples.start, samples.stop), read, strict=True
                ):
                    sums = self._sums[index]
                    sums[depth] = sums[depth] + own if depth in sums else own
        if call.layer == self._plan.last:
            raise StopForward

    def _attention(
        self, tokens: PromptTokens | VocabularyTokens, call: AttentionCall
    ) -> Tensor:
        """Attention to each row's tokens, summed over heads: float32 (B, R, Q)."""
        if isinstance(tokens, VocabularyTokens):
            return self._keys.attention(tokens, call)
        weights = tokens.weights.to(call.query.device)
        return torch.einsum("bhqk,rk->brq", call.probabilities(), weights)

    def sample(self, index: int) -> SampleReading:
        """What was read of one sample."""
        own = slice(index, index + 1)
        return SampleReading(
            levels=tuple(
                Level(maps=self._level(index, depth), weight=weight)
                for depth, weight in self._plan.weights.items()
            ),
            refine=partial(
                refine_by_self_attention,
                calls=[call.samples(own) for call in self._self_attention],
            ),
            features=tuple(
                self._cells(layer, index)
                for layer in self._states
                if layer in self._plan.features
            ),
            layers=tuple(self._cells(layer, index) for layer in self._states),
        )

    def _cells(self, layer: str, index: int) -> Tensor:
        """What a layer was given of each cell: float (C, rows, columns)."""
        states = self._states[layer][index]
        return states.T.reshape(-1, *grid_at(self._grid_yx, self._plan.depths[layer]))

    def _level(self, index: int, depth: int) -> Tensor:
        """Mean over layers and heads of one depth: float32 (R, rows, columns)."""
        total = self._sums[index][depth]
        rows, columns = grid_at(self._grid_yx, depth)
        if total.shape[1] != rows * columns:
            raise UnsupportedModel(
                f"The model attends on {total.shape[1]} cells where a latent of "
                f"{self._grid_yx} halved {depth} times has {rows * columns}."
            )
        return (total / self._heads[depth]).view(-1, rows, columns)


def grid_at(latent_yx: tuple[int, int], depth: int) -> tuple[int, int]:
    """The grid after so many halvings.

    A stride-2 convolution with padding 1 halves upwards, so odd sizes do too.
    """
    rows, columns = latent_yx
    for _ in range(depth):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    return rows, columns
