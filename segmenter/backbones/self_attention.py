"""Maps in, the same maps refined by a model's self-attention out. Pure.

Axis letters: M maps, h, w cells, H heads, K cells in one row-major list, d head width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones.attention import AttentionCall


def refine_by_self_attention(maps: Tensor, calls: Sequence[AttentionCall]) -> Tensor:
    """Multiply maps by the mean self-attention matrix: M = S A.

    S is the mean over layers and heads of softmax(Q K' / sqrt d), rows are query
    cells and sum to 1. The maps stand where a layer has its values, so that torch's
    own attention does it, block by block: S never exists whole, and memory is linear
    in the number of cells.

    Args:
        maps: float (M, h, w).
        calls: self-attention layers on the same grid, (1, H, h*w, d) each; at
            least one.

    Returns:
        float32 (M, h, w).
    """
    values = maps.flatten(1).T.float().contiguous()  # (K, M)
    total = torch.zeros_like(values)
    for call in calls:
        query, key = call.query.float(), call.key.float()
        n_heads, _, width = query.shape[1:]
        # The kernels that need no whole matrix want values as wide as keys.
        for start in range(0, len(maps), width):
            own = values[:, start : start + width]
            padded = F.pad(own, (0, width - own.shape[1])).contiguous()
            spread = F.scaled_dot_product_attention(
                query, key, padded.expand(1, n_heads, -1, -1), scale=call.scale
            )
            total[:, start : start + width] += spread[0].mean(dim=0)[:, : own.shape[1]]
    return (total / len(calls)).T.reshape(maps.shape)
