"""Noised latents and texts in, what one block's joint attention says of them out.

Axis letters:

    B  samples of a batch   C  channels   h, w  latent grid   H  heads   Q  query cells
    K  tokens of a text     T  tokens that are read           R  rows that are read
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones.attention import AttentionCall, StopForward, capture
from segmenter.backbones.protocol import (
    Level,
    PromptTokens,
    Sample,
    SampleReading,
    VocabularyTokens,
)
from segmenter.backbones.self_attention import refine_by_self_attention
from segmenter.text import TextEncoding

# Behind CLIP's tokens the model saw T5's in training; those of no T5 are zeros. As many
# as Seg4Diff (NeurIPS 2025) reads with, which is CLIP's window once more.
T5_TOKENS: Final = 77


def layer_name(block: int) -> str:
    """The joint attention of a block, which SD3.5 has a second one of cells beside."""
    return f"transformer_blocks.{block}.attn"


@torch.no_grad()
def read_samples(
    transformer: Any, samples: Sequence[Sample], *, block: int, sigma_01: float
) -> list[SampleReading]:
    """Run the transformer on a batch, up to the block's attention.

    Once for each text: of a vocabulary in several, every text has a pass of its own
    through the same few blocks.

    Args:
        transformer: diffusers `SD3Transformer2DModel`.
        samples: whose latents have one size.
        block: to be read.
        sigma_01: share of noise that the latents were noised with.
    """
    calls: list[list[AttentionCall]] = [[] for _ in samples]
    n_texts = [len(_texts_of(sample).context) for sample in samples]
    for number in range(max(n_texts, default=0)):
        own = [index for index, count in enumerate(n_texts) if count > number]
        call = _call_of(
            transformer,
            torch.stack([samples[index].latent for index in own]),
            [_texts_of(samples[index]).sample(number) for index in own],
            block=block,
            sigma_01=sigma_01,
        )
        for place, index in enumerate(own):
            calls[index].append(call.samples(slice(place, place + 1)))
    patch = int(transformer.config.patch_size)
    return [_reading(*pair, patch) for pair in zip(samples, calls, strict=True)]


def _texts_of(sample: Sample) -> TextEncoding:
    if isinstance(sample.tokens, VocabularyTokens):
        return sample.tokens.texts
    return sample.text


def _call_of(
    transformer: Any,
    latents: Tensor,
    texts: Sequence[TextEncoding],
    *,
    block: int,
    sigma_01: float,
) -> AttentionCall:
    """The block's attention in one pass, which ends there."""
    heard: list[AttentionCall] = []

    def listen(call: AttentionCall) -> None:
        heard.append(call)
        raise StopForward

    with (
        capture(transformer, listen, layers=[layer_name(block)]),
        suppress(StopForward),
    ):
        transformer(
            hidden_states=latents.to(transformer.dtype),
            return_dict=False,
            **conditions(transformer, texts, sigma_01=sigma_01),
        )
    return heard[0]


def conditions(
    transformer: Any, texts: Sequence[TextEncoding], *, sigma_01: float
) -> dict[str, Tensor]:
    """What the transformer wants beside the latents, as its pipeline makes it."""
    context = torch.cat([text.context for text in texts]).to(transformer.dtype)
    missing = int(transformer.config.joint_attention_dim) - context.shape[2]
    context = F.pad(context, (0, missing, 0, T5_TOKENS))
    pooled = torch.cat([text.pooled for text in texts if text.pooled is not None])
    # In float32: 515 would be 516 in bfloat16.
    time = torch.full((len(texts),), 1000 * sigma_01, device=context.device)
    return {
        "encoder_hidden_states": context,
        "pooled_projections": pooled.to(transformer.dtype),
        "timestep": time,
    }


def _reading(
    sample: Sample, calls: Sequence[AttentionCall], patch: int
) -> SampleReading:
    tokens = sample.tokens
    kept = (
        tokens.kept
        if isinstance(tokens, VocabularyTokens)
        else torch.ones((1, tokens.weights.shape[1]), dtype=torch.bool)
    )
    first = calls[0]
    grid_yx = (sample.latent.shape[1] // patch, sample.latent.shape[2] // patch)
    columns = text_columns(calls, kept)
    states = first.states[0].T.reshape(-1, *grid_yx)
    return SampleReading(
        levels=(
            Level(
                maps=_rows(tokens, columns).reshape(-1, *grid_yx),
                weight=1.0,
            ),
        ),
        refine=partial(refine_by_self_attention, calls=[first]),
        features=(states,),
        layers=(states,),
    )


def _rows(tokens: PromptTokens | VocabularyTokens, columns: Tensor) -> Tensor:
    """Mean over each row's tokens: float32 (R, Q)."""
    return tokens.weights.to(columns) @ columns


def text_columns(calls: Sequence[AttentionCall], kept: Tensor) -> Tensor:
    """Attention of every cell to tokens of several texts: float32 (T, Q).

    Mean over heads of the softmax over all keys of the first text's pass, and beside
    them the tokens that are kept of the others. What a pass says of a token is how much
    it attracts beside all cells; so tokens of different passes compare, and with
    one text this is the model's own softmax.

    Args:
        calls: the block's attention for each text, (1, H, Q, d).
        kept: bool (N, K), the T tokens; in the order of the texts.
    """
    kept = kept.to(calls[0].query.device)
    width = kept.shape[1]
    columns = []
    for rows in calls[0].row_blocks():
        beside = [_beside_cells(call, rows) for call in calls]
        others = [
            scores[..., :width][..., own]
            for scores, own in zip(beside[1:], kept[1:], strict=True)
        ]
        every = torch.cat([torch.zeros_like(beside[0][..., :1]), beside[0], *others], 3)
        attention = every.softmax(dim=3)[0].mean(dim=0)[:, 1:]  # (rows, tokens)
        n_first = beside[0].shape[3]
        columns.append(
            torch.cat([attention[:, :width][:, kept[0]], attention[:, n_first:]], dim=1)
        )
    return torch.cat(columns).T


def _beside_cells(call: AttentionCall, rows: slice) -> Tensor:
    """Tokens' scores less the sum of all cells': float32 (1, H, rows, tokens)."""
    some = call.rows(rows)
    scores = ((some.query * call.scale) @ call.key.transpose(-1, -2)).float()
    cells = scores[..., : call.cells].logsumexp(dim=3, keepdim=True)
    return scores[..., call.cells :] - cells
