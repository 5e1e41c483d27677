"""Attention calls in, one relevance map per label out.

Pure functions on tensors and one collector: no model, no file, no random state,
so every test runs on a CPU in milliseconds. Axis letters, here and in
`attention.py`:

    B  samples (labels of an image)     H  heads     d  head width
    Q  query cells   K  key cells (self) or tokens (cross)
    h, w  latent grid

The recipe is DiffSegmenter's (arXiv 2309.02773, and its published code where the
two differ): cross-attention says what, self-attention says where.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.attention import AttentionCall
from segmenter.errors import UnsupportedModel

# Rows of the self-attention matrix that exist at once, per sample and head. The
# whole matrix is 4,096 x 4,096 at 512 pixels; a block of 256 rows is a sixteenth.
_ROWS_AT_ONCE = 256


class MapCollector:
    """A reader for `attention.capture` that keeps just what the maps need.

    Cross-attention is reduced to the read tokens at once. Of self-attention only
    queries and keys at latent resolution are kept, never a product of them.
    """

    def __init__(
        self, read: Tensor, *, latent_yx: tuple[int, int], wants_self: bool = True
    ) -> None:
        """Start collecting.

        Args:
            read: float (B, K), weights of the tokens to read; rows sum to 1.
            latent_yx: rows and columns of the latent.
            wants_self: False when no self-attention product follows.
        """
        self._read = read
        self._latent_yx = latent_yx
        self._wants_self = wants_self
        self._sums: dict[int, Tensor] = {}
        self._heads: dict[int, int] = {}
        self._self_calls: list[AttentionCall] = []

    def read(self, call: AttentionCall) -> None:
        """Take one layer's attention; the reader to hand to `capture`."""
        cells = call.query.shape[2]
        if call.kind == "cross":
            weights = self._read.to(call.query.device)
            read = torch.einsum("bhqk,bk->bq", call.probabilities(), weights)
            self._sums[cells] = self._sums.get(cells, 0) + read
            self._heads[cells] = self._heads.get(cells, 0) + call.query.shape[1]
        elif self._wants_self and cells == self._latent_yx[0] * self._latent_yx[1]:
            self._self_calls.append(call)

    def levels(self) -> list[Tensor]:
        """Mean over heads and layers per resolution, coarsest first.

        Returns:
            float32 (B, h_l, w_l) tensors with strictly growing grids.

        Raises:
            UnsupportedModel: if no layer read text, or a layer's grid is not the
                latent halved some times.
        """
        if not self._sums:
            raise UnsupportedModel(
                "The U-Net has no cross-attention layer; labels cannot be read from it."
            )
        grids = level_grids(self._latent_yx)
        unknown = sorted(set(self._sums) - set(grids))
        if unknown:
            raise UnsupportedModel(
                f"The U-Net attends on grids of {unknown} cells; known for a latent "
                f"of {self._latent_yx} are {sorted(grids)}."
            )
        return [
            (self._sums[cells] / self._heads[cells]).view(-1, *grids[cells])
            for cells in sorted(self._sums)
        ]

    def maps(
        self, *, level_weights: Sequence[float], self_attention_products: int
    ) -> Tensor:
        """The relevance maps: float32 (B, h, w), each stretched to [0, 1]."""
        fused = fuse_levels(
            self.levels(), grid_yx=self._latent_yx, weights=level_weights
        )
        for _ in range(self_attention_products):
            fused = spread_by_self_attention(fused, self._self_calls)
        return stretch(fused)


def level_grids(latent_yx: tuple[int, int]) -> dict[int, tuple[int, int]]:
    """Grids by number of cells: the latent, halved (rounding up) down to 1 x 1.

    A stride-2 convolution with padding 1 halves upwards, so odd sizes do too.
    """
    grids = {}
    rows, columns = latent_yx
    while True:
        grids[rows * columns] = (rows, columns)
        if rows == columns == 1:
            return grids
        rows, columns = (rows + 1) // 2, (columns + 1) // 2


def fuse_levels(
    levels: Sequence[Tensor], *, grid_yx: tuple[int, int], weights: Sequence[float]
) -> Tensor:
    """Bring every level to one grid, stretch each to [0, 1], add by weight.

    Args:
        levels: coarsest first, each float (B, h_l, w_l).
        grid_yx: rows and columns of the result.
        weights: one per level, coarsest first. Where the model has fewer levels
            the first weights are used, where it has more the finest levels are
            left out: what the weights say is how far from coarse a level is.

    Returns:
        float32 (B, h, w), not stretched.
    """
    total = torch.zeros(1)
    for level, weight in zip(levels, weights, strict=False):
        resized = F.interpolate(
            level[:, None].float(), grid_yx, mode="bilinear", align_corners=False
        )[:, 0]
        total = total.to(resized.device) + weight * stretch(resized)
    return total


def stretch(maps: Tensor) -> Tensor:
    """Min-max per map over its cells: (B, h, w) in [0, 1]; constant maps are 0."""
    low = maps.amin(dim=(1, 2), keepdim=True)
    spread = maps.amax(dim=(1, 2), keepdim=True) - low
    return torch.where(spread > 0, (maps - low) / spread.clamp(min=1e-20), 0.0)


def spread_by_self_attention(maps: Tensor, calls: Sequence[AttentionCall]) -> Tensor:
    """Multiply maps by the mean self-attention matrix: M = S A.

    S is the mean over layers and heads of softmax(Q K' / sqrt d), rows are query
    cells and sum to 1. It is applied block by block and never exists whole, so
    memory is linear in the number of cells.

    Args:
        maps: float (B, h, w).
        calls: self-attention layers on the same grid, (B, H, h*w, d) each.

    Raises:
        UnsupportedModel: if there is no such layer.
    """
    if not calls:
        raise UnsupportedModel(
            "The U-Net has no self-attention at latent resolution; set "
            "self_attention_products to 0 to read cross-attention alone."
        )
    flat = maps.flatten(1)
    total = torch.zeros_like(flat)
    for call in calls:
        values = flat.to(call.query.device)[:, None, :, None]
        for start in range(0, flat.shape[1], _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            block = call.rows(rows).probabilities() @ values  # (B, H, rows, 1)
            total[:, rows] += block[..., 0].mean(dim=1)
    return (total / len(calls)).view_as(maps)
