"""Joint attention as the pocket MM-DiT's training computes it.

Axis letters:

    B  batch     C  cells: tokens of the picture     K  keys: cells, text tokens, and
    one for those of the absent T5
"""

import math
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

READ_BLOCK: Final = 3
"""The block whose attention is taught and read, counted from 0."""

TOKENS: Final = 77
"""Tokens of a text, in CLIP's window and in what stands for T5."""


def watch(transformer: Any) -> "JointAttention":
    """Give every block attention of our own; answers with the one that is read."""
    joint = [
        JointAttention(keeps=number == READ_BLOCK)
        for number in range(len(transformer.transformer_blocks))
    ]
    for block, processor in zip(transformer.transformer_blocks, joint, strict=True):
        block.attn.set_processor(processor)
    return joint[READ_BLOCK]


class JointAttention:
    """diffusers' joint attention, with one key that counts for 77.

    Where there is no T5, the pipeline hands over 77 zero tokens, which stay alike in
    every block: one of them, whose share is multiplied by 77, does the same.
    """

    def __init__(self, *, keeps: bool) -> None:
        """Keep what it computes, or do not."""
        self._keeps = keeps
        self._kept: Tensor | None = None

    def take(self) -> Tensor:
        """Attention of the picture's rows, mean over heads: float32 (B, C, K)."""
        kept, self._kept = self._kept, None
        assert kept is not None
        return kept

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute a block's attention, as `JointAttnProcessor2_0` of diffusers does."""

        def heads(states: Tensor) -> Tensor:
            split = states.reshape(*states.shape[:2], int(attn.heads), -1)
            return split.transpose(1, 2)

        cells = hidden_states.shape[1]
        query, key, value = (
            torch.cat([of_picture, of_text], dim=2)
            for of_picture, of_text in (
                (
                    attn.norm_q(heads(attn.to_q(hidden_states))),
                    attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states))),
                ),
                (
                    attn.norm_k(heads(attn.to_k(hidden_states))),
                    attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states))),
                ),
                (
                    heads(attn.to_v(hidden_states)),
                    heads(attn.add_v_proj(encoder_hidden_states)),
                ),
            )
        )
        bias = torch.zeros(1, 1, 1, key.shape[2], dtype=query.dtype)
        bias[..., -1] = math.log(TOKENS)
        if self._keeps:
            scaled = query / query.shape[3] ** 0.5
            probabilities = torch.baddbmm(
                bias[0], scaled.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
            ).softmax(dim=-1)
            probabilities = probabilities.reshape(*query.shape[:3], -1)
            self._kept = probabilities[:, :, :cells].sum(dim=1) / attn.heads
            mixed = probabilities @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).flatten(2)
        of_picture, of_text = mixed[:, :cells], mixed[:, cells:]
        if not attn.context_pre_only:
            of_text = attn.to_add_out(of_text)
        return attn.to_out[0](of_picture), of_text
