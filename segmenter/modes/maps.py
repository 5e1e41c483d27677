"""What was read of a model's passes in, one relevance map per label out.

Pure functions on tensors: no model, no file, no random state, so every test
runs on a CPU in milliseconds. Axis letters:

    n  windows   R  rows that were read   L  labels, the first of the rows
    h, w  cells of a window   Y, X  cells of the canvas

Cross-attention says what, self-attention says where (DiffSegmenter, arXiv
2309.02773, and its published code where the two differ).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones import SampleReading
from segmenter.modes.windows import Layout, cut_windows, merge_windows

# How steeply a label's score falls where a background word's is higher: the label has
# lost everywhere but in the narrow margin that interpolation needs.
_BACKGROUND_SLOPE = 8.0


def fuse_levels(
    readings: Sequence[SampleReading], layout: Layout, *, stretches: bool
) -> Tensor:
    """Bring every level to the canvas and add them by weight.

    Args:
        readings: one per window, with the same levels.
        layout: of the windows, in cells of the maps.
        stretches: stretch each level's maps to [0, 1] before they are added, as
            published; else they stay attention, and the sum is their mean.

    Returns:
        float32 (R, Y, X).
    """
    weights = [level.weight for level in readings[0].levels]
    total: Tensor | None = None
    for index, weight in enumerate(weights):
        level = level_on_canvas(readings, layout, index)
        weighted = weight * (stretch(level) if stretches else level)
        total = weighted if total is None else total + weighted
    assert total is not None
    return total if stretches else total / sum(weights)


def level_on_canvas(
    readings: Sequence[SampleReading], layout: Layout, index: int
) -> Tensor:
    """One level of all windows: float32 (R, Y, X); 0 is the coarsest."""
    pieces = [
        resize(reading.levels[index].maps, layout.window_yx) for reading in readings
    ]
    return merge_windows(torch.stack(pieces), layout)


def resize(maps: Tensor, grid_yx: tuple[int, int]) -> Tensor:
    """Bilinear: (R, h, w) to float32 (R, *grid_yx)."""
    return F.interpolate(
        maps[None].float(), grid_yx, mode="bilinear", align_corners=False
    )[0]


def compete(rows: Tensor, weights: Tensor, *, own: Tensor | None = None) -> Tensor:
    """Each label's share of every cell.

    A label counts against the others by its weight, its presence, so that one that
    is not in the picture takes nothing from those that are. The rows that are no labels
    (background words, the start token, which draws what no word names) count fully.

    Args:
        rows: float32 (R, Y, X), attention; the labels come first.
        weights: float32 (L,) in [0, 1].
        own: the same for how much a label counts in its own map; None for `weights`.

    Returns:
        float32 (L, Y, X) in [0, 1].
    """
    labels, others = rows[: len(weights)], rows[len(weights) :].sum(dim=0)
    weights = weights.to(rows)
    own = weights if own is None else own.to(rows)
    total = (labels * weights[:, None, None]).sum(dim=0) + others
    besides = labels * (own - weights)[:, None, None]
    return labels * own[:, None, None] / (total + besides).clamp(min=1e-12)


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


def refine_over_windows(
    maps: Tensor, readings: Sequence[SampleReading], layout: Layout
) -> Tensor:
    """One self-attention product, window by window: (R, Y, X) to (R, Y, X)."""
    pieces = cut_windows(maps, layout)
    return merge_windows(
        torch.stack(
            [
                reading.refine(piece)
                for piece, reading in zip(pieces, readings, strict=True)
            ]
        ),
        layout,
    )
