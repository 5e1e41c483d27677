"""Maps in, the same maps refined by a model's self-attention out. Pure.

Axis letters: M maps, h, w cells, H heads, Q, K cells in one row-major list.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segmenter.backbones.attention import AttentionCall


def refine_by_self_attention(maps: Tensor, calls: Sequence[AttentionCall]) -> Tensor:
    """Multiply maps by the mean self-attention matrix: M = S A.

    S is the mean over layers and heads of softmax(Q K' / sqrt d), rows are query
    cells and sum to 1. It is applied block by block and never exists whole, so
    memory is linear in the number of cells. The mean over heads is taken before the
    product, whose cost the number of maps therefore hardly changes.

    Args:
        maps: float (M, h, w).
        calls: layers on the same grid that attend to its cells, (1, H, h*w, d) each,
            at least one; of a joint one, the cells' part of its softmax.

    Returns:
        float32 (M, h, w).
    """
    values = maps.flatten(1).T.float()  # (K, M)
    total = torch.zeros_like(values)
    for call in calls:
        for rows in call.row_blocks():
            block = call.rows(rows).probabilities()[0].mean(dim=0)  # (rows, K)
            if call.kind == "joint":
                # A mean over cells takes no part in what is spent on the text.
                block = block[:, : call.cells]
                block = block / block.sum(dim=1, keepdim=True)
            total[rows] += block @ values
    return (total / len(calls)).T.reshape(maps.shape)
