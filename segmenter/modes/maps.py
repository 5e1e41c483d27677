"""What was read of U-Net passes in, one relevance map per label out.

Pure functions on tensors: no model, no file, no random state, so every test
runs on a CPU in milliseconds. Axis letters:

    n  windows   R  rows that were read   L  labels, the first of the rows
    h, w  cells of a window   Y, X  cells of the canvas   H  heads   Q, K  cells

Cross-attention says what, self-attention says where (DiffSegmenter, arXiv
2309.02773, and its published code where the two differ).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones.capture import AttentionCall
from segmenter.backbones.unet.reading import SampleReading
from segmenter.modes.windows import Layout, cut_windows, merge_windows

# Entries of the self-attention matrix that exist at once: 8 MB, which a CPU's cache
# holds. The whole matrix of 8 heads has 134 million at 512 pixels.
_ENTRIES_AT_ONCE = 1 << 21
# A GPU wants larger pieces: 512 MB.
_ENTRIES_AT_ONCE_CUDA = 1 << 27
# How steeply a label's score falls where a background word's is higher: the label has
# lost everywhere but in the narrow margin that interpolation needs.
_BACKGROUND_SLOPE = 8.0


def fuse_levels(
    readings: Sequence[SampleReading],
    layout: Layout,
    *,
    weights: Mapping[int, float],
    stretches: bool,
) -> Tensor:
    """Bring every level to the canvas and add them by weight.

    Args:
        readings: one per window.
        layout: of the windows, in cells of the maps.
        weights: of each level, by depth.
        stretches: stretch each level's maps to [0, 1] before they are added, as
            published; else they stay attention, and the sum is their mean.

    Returns:
        float32 (R, Y, X).
    """
    total: Tensor | None = None
    for depth, weight in weights.items():
        pieces = [
            resize(reading.levels[depth], layout.window_yx) for reading in readings
        ]
        level = merge_windows(torch.stack(pieces), layout)
        weighted = weight * (stretch(level) if stretches else level)
        total = weighted if total is None else total + weighted
    assert total is not None
    return total if stretches else total / sum(weights.values())


def resize(maps: Tensor, grid_yx: tuple[int, int]) -> Tensor:
    """Bilinear: (R, h, w) to float32 (R, *grid_yx)."""
    return F.interpolate(
        maps[None].float(), grid_yx, mode="bilinear", align_corners=False
    )[0]


def compete(rows: Tensor, weights: Tensor) -> Tensor:
    """Each label's share of every cell.

    A label counts against the others by its weight, its presence, so that one that
    is not in the picture takes nothing from those that are. The rows that are no labels
    (background words, the start token, which draws what no word names) count fully.

    Args:
        rows: float32 (R, Y, X), attention; the labels come first.
        weights: float32 (L,) in [0, 1].

    Returns:
        float32 (L, Y, X) in [0, 1].
    """
    labels, others = rows[: len(weights)], rows[len(weights) :].sum(dim=0)
    weighted = labels * weights.to(rows)[:, None, None]
    return weighted / (weighted.sum(dim=0) + others).clamp(min=1e-12)


def keep_off_background(labels: Tensor, background: Tensor) -> Tensor:
    """Take from the labels the cells that a background word has a better claim to.

    background = max(threshold, best background word) for every later threshold: a
    label that scores less than the best background word falls steeply to 0.

    Args:
        labels: float32 (L, Y, X) in [0, 1].
        background: float32 (M, Y, X) in [0, 1], maps of the background words.
    """
    if not len(background):
        return labels
    lost = (background.amax(dim=0) - labels).clamp(min=0)
    return (labels - _BACKGROUND_SLOPE * lost).clamp(min=0)


def stretch(maps: Tensor) -> Tensor:
    """Min-max per map over its cells: (R, Y, X) in [0, 1]; constant maps are 0."""
    low = maps.amin(dim=(1, 2), keepdim=True)
    spread = maps.amax(dim=(1, 2), keepdim=True) - low
    return torch.where(spread > 0, (maps - low) / spread.clamp(min=1e-20), 0.0)


def spread_over_windows(
    maps: Tensor, readings: Sequence[SampleReading], layout: Layout
) -> Tensor:
    """One self-attention product, window by window: (R, Y, X) to (R, Y, X)."""
    pieces = cut_windows(maps, layout)
    return merge_windows(
        torch.stack(
            [
                spread_by_self_attention(piece, reading.spreading)
                for piece, reading in zip(pieces, readings, strict=True)
            ]
        ),
        layout,
    )


def spread_by_self_attention(maps: Tensor, calls: Sequence[AttentionCall]) -> Tensor:
    """Multiply maps by the mean self-attention matrix: M = S A.

    S is the mean over layers and heads of softmax(Q K' / sqrt d), rows are query
    cells and sum to 1. It is applied block by block and never exists whole, so
    memory is linear in the number of cells. The mean over heads is taken before the
    product, whose cost the number of maps therefore hardly changes.

    Args:
        maps: float (R, h, w).
        calls: self-attention layers on the same grid, (1, H, h*w, d) each; at
            least one.
    """
    values = maps.flatten(1).T.float()  # (K, R)
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
