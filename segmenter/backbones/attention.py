"""Read a denoiser's attention while it runs, and leave no trace behind.

`capture` wraps every attention processor of a model. A wrapped processor hands the
layer's queries and keys to a hook, then delegates to the original, so the model's
output is bit-identical and foreign processors (LoRA, fused, sliced) keep working.
What to do with queries and keys is the hook's affair: no N x N matrix exists unless
the hook makes one. A hook that needs no more raises `StopForward`, and the model
stops there.

For models whose layers attend to the image, to the text (U-Nets, PixArt) or to both at
once (`JointAttnProcessor2_0` of Stable Diffusion 3), with processors that take
`encoder_hidden_states`.

Axis letters:

    B  samples (labels of an image)     H  heads
    Q  query cells   K  key cells (self) or tokens (cross) or both (joint)
    d  head width    C  channels
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor

AttentionKind = Literal["cross", "self", "joint"]

# Scores that exist at once: 8 MB, which a CPU's cache holds. 8 heads have 134 million
# at 512 pixels.
_SCORES_AT_ONCE: Final = 1 << 21
# A GPU wants larger pieces: 512 MB.
_SCORES_AT_ONCE_CUDA: Final = 1 << 27


class StopForward(Exception):
    """Raised by a hook: nothing that the model would still compute is read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionCall:
    """One attention layer's inputs to softmax, as the layer itself computes them.

    Attributes:
        layer: dotted module name inside the model.
        kind: "cross" (keys are text tokens), "self" (keys are cells) or "joint" (keys
            are cells, then tokens; queries are the cells').
        states: float (B, Q, C), what the layer is given of each query cell.
        query: float (B, H, Q, d), cells in row-major order.
        key: float (B, H, K, d).
        scale: factor on the dot products, 1/sqrt(d) in every known model.
        bias: float (B, 1, 1, K) added to the scores, by which padding is left out; None
            for nothing.
        project: other token embeddings, float (M, K, D), to keys of this layer,
            float (M, H, K, d): what other texts would have attracted.
    """

    layer: str
    kind: AttentionKind
    states: Tensor
    query: Tensor
    key: Tensor
    scale: float
    project: Callable[[Tensor], Tensor]
    bias: Tensor | None = None

    @property
    def cells(self) -> int:
        """Number of query cells."""
        return self.query.shape[2]

    def probabilities(self) -> Tensor:
        """Softmax over the keys: float32 (B, H, Q, K), rows sum to 1."""
        return attention_probabilities(self.query, self.key, self.scale, self.bias)

    def row_blocks(self) -> Iterator[slice]:
        """Query cells, as many at a time as have scores that memory is fast with."""
        is_cuda = self.query.is_cuda
        at_once = _SCORES_AT_ONCE_CUDA if is_cuda else _SCORES_AT_ONCE
        n_rows = max(1, at_once // (self.query.shape[:2].numel() * self.key.shape[2]))
        for start in range(0, self.cells, n_rows):
            yield slice(start, min(start + n_rows, self.cells))

    def rows(self, rows: slice) -> "AttentionCall":
        """The same layer seen from some of its query cells only."""
        return replace(self, states=self.states[:, rows], query=self.query[:, :, rows])

    def samples(self, samples: slice) -> "AttentionCall":
        """The same layer for some of the samples only."""
        return replace(
            self,
            states=self.states[samples],
            query=self.query[samples],
            key=self.key[samples],
            bias=None if self.bias is None else self.bias[samples],
        )


def attention_probabilities(
    query: Tensor, key: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """softmax(scale * Q K' + bias) over the last axis, in float32 for all inputs."""
    scores = (query * scale) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1, dtype=torch.float32)


AttentionHook = Callable[[AttentionCall], None]


@contextmanager
def capture(
    denoiser: Any, hook: AttentionHook, *, layers: Collection[str] | None = None
) -> Iterator[None]:
    """Hand attention layers' queries and keys to `hook` inside the block.

    Args:
        denoiser: a diffusers model with `attn_processors`.
        hook: called once per attention layer and forward pass, in the order
            of execution. An exception it raises leaves through the forward.
        layers: dotted module names of those to read, None for all. The others run
            as ever.

    The original processors are back in place when the block ends, however it
    ends.
    """
    originals = dict(denoiser.attn_processors)
    processors: dict[str, Any] = dict(originals)
    for name, original in originals.items():
        layer = name.removesuffix(".processor")
        if layers is None or layer in layers:
            processors[name] = _HookedProcessor(layer, original, hook)
    denoiser.set_attn_processor(processors)
    try:
        yield
    finally:
        denoiser.set_attn_processor(dict(originals))


class _HookedProcessor:
    """Shows queries and keys to the hook, then lets the original do its work."""

    def __init__(self, layer: str, original: Any, hook: AttentionHook) -> None:
        self._layer = layer
        self._original = original
        self._hook = hook

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **rest: Any,
    ) -> Any:
        call = self._call(attn, hidden_states, encoder_hidden_states)
        if attention_mask is not None:
            # (B, 1, K), the same for all queries.
            call = replace(call, bias=attention_mask[:, None])
        self._hook(call)
        return self._original(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb, **rest
        )

    def _call(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None
    ) -> AttentionCall:
        # `add_k_proj` makes keys of tokens where cells have keys of their own.
        is_joint = encoder_hidden_states is not None and attn.add_k_proj is not None

        def project(source: Tensor) -> Tensor:
            if is_joint:
                return _heads_of(attn, attn.add_k_proj, attn.norm_added_k, source)
            if encoder_hidden_states is not None and attn.norm_cross:
                source = attn.norm_encoder_hidden_states(source)
            return own_keys(source)

        def own_keys(source: Tensor) -> Tensor:
            return _heads_of(attn, attn.to_k, attn.norm_k, source)

        kind: AttentionKind
        if encoder_hidden_states is None:
            kind, key = "self", project(hidden_states)
        elif is_joint:
            keys = own_keys(hidden_states), project(encoder_hidden_states)
            kind, key = "joint", torch.cat(keys, dim=2)
        else:
            kind, key = "cross", project(encoder_hidden_states)
        return AttentionCall(
            layer=self._layer,
            kind=kind,
            states=hidden_states,
            query=_heads_of(attn, attn.to_q, attn.norm_q, hidden_states),
            key=key,
            scale=float(attn.scale),
            project=project,
        )


def _heads_of(attn: Any, projection: Any, norm: Any, source: Tensor) -> Tensor:
    """Queries or keys of each head: (B, N, C) to (B, H, N, d)."""
    heads = _split_heads(projection(source), attn.heads)
    return heads if norm is None else norm(heads)


def _split_heads(projected: Tensor, heads: int) -> Tensor:
    """(B, N, H*d) to (B, H, N, d)."""
    batch, cells, width = projected.shape
    return projected.view(batch, cells, heads, width // heads).transpose(1, 2)
