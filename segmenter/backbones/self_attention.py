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
        calls: layers on the same grid that attend to its cells, (1, H, h*w, d) each,
            at least one; of a joint one, the cells' part of its softmax.

    Returns:
        float32 (M, h, w).
    """
    values = maps.flatten(1).T.float().contiguous()  # (cells, M)
    total = torch.zeros_like(values)
    for call in calls:
        total += (
            _of_cells(call, values) if call.kind == "joint" else _mean(call, values)
        )
    return (total / len(calls)).T.reshape(maps.shape)


def _of_cells(call: AttentionCall, values: Tensor) -> Tensor:
    """Mean of cells alone, without what a joint layer spends on the text."""
    with_share = F.pad(values, (0, 1), value=1.0)
    n_tokens = call.key.shape[2] - call.cells
    spread = _mean(call, F.pad(with_share, (0, 0, 0, n_tokens)))
    return spread[:, :-1] / spread[:, -1:]


def _mean(call: AttentionCall, values: Tensor) -> Tensor:
    """Mean over heads of softmax(Q K' / sqrt d) V: (K, M) to float32 (Q, M)."""
    query, key = call.query.float(), call.key.float()
    bias = None if call.bias is None else call.bias.float()
    n_heads, _, width = query.shape[1:]
    columns = []
    # The kernels that need no whole matrix want values as wide as keys.
    for own in torch.split(values, width, dim=1):
        padded = F.pad(own, (0, width - own.shape[1])).contiguous()
        spread = F.scaled_dot_product_attention(
            query,
            key,
            padded.expand(1, n_heads, -1, -1),
            attn_mask=bias,
            scale=call.scale,
        )
        columns.append(spread[0].mean(dim=0)[:, : own.shape[1]])
    return torch.cat(columns, dim=1)
