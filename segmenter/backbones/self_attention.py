"""Maps in, the same maps refined by a model's self-attention out. Pure.

Axis letters: M maps, h, w cells, H heads, Q, K cells in one row-major list.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segmenter.backbones.attention import AttentionCall

# Entries of the self-attention matrix that exist at once: 8 MB, which a CPU's cache
# holds. The whole matrix of 8 heads has 134 million at 512 pixels.
_ENTRIES_AT_ONCE = 1 << 21
# A GPU wants larger pieces: 512 MB.
_ENTRIES_AT_ONCE_CUDA = 1 << 27


def refine_by_self_attention(maps: Tensor, calls: Sequence[AttentionCall]) -> Tensor:
    """Multiply maps by the mean self-attention matrix: M = S A.

    S is the mean over layers and heads of softmax(Q K' / sqrt d), rows are query
    cells and sum to 1. It is applied block by block and never exists whole, so
    memory is linear in the number of cells. The mean over heads is taken before the
    product, whose cost the number of maps therefore hardly changes.

    Args:
        maps: float (M, h, w).
        calls: self-attention layers on the same grid, (1, H, h*w, d) each; at
            least one.

    Returns:
        float32 (M, h, w).
    """
    values = maps.flatten(1).T.float()  # (K, M)
    total = torch.zeros_like(values)
    for call in calls:
        n_heads, cells = call.query.shape[1], call.cells
        is_cuda = call.query.is_cuda
        at_once = _ENTRIES_AT_ONCE_CUDA if is_cuda else _ENTRIES_AT_ONCE
        n_rows = max(1, at_once // (n_heads * cells))
        for start in range(0, cells, n_rows):
            rows = slice(start, start + n_rows)
            block = call.rows(rows).probabilities()[0].mean(dim=0)  # (rows, K)
            total[rows] += block @ values
    return (total / len(calls)).T.reshape(maps.shape)
