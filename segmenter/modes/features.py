"""What a pass knew of every cell in, features of a bounded size out. Pure.

Cells of one object have features that point the same way, so a click on one finds the
others. Axis letters:

    C  channels of a layer     Y, X  cells of the canvas     v, u  cells that are kept
    D  numbers that are kept of a cell
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones import SampleReading
from segmenter.modes.maps import resize
from segmenter.modes.windows import Layout, merge_windows

# What is kept of an image for its clicks.
_MOST_BYTES: Final = 250_000
# Somewhat more than 32 x 32: windows that are not square have that.
_MOST_CELLS: Final = 1152


def cell_features(
    readings: Sequence[SampleReading], layout: Layout
) -> NDArray[np.float16] | None:
    """Gather the features of an image: float16 (D, v, u), each cell of length 1.

    Each layer has the same say, whatever the scale of its channels.

    Args:
        readings: one per window, with the same layers.
        layout: of the windows, in cells of the maps.

    Returns:
        At most 250,000 bytes, on a grid of the canvas' shape that is no finer than
        the canvas and has at most 1152 cells; None where nothing was read.
    """
    if not readings[0].features:
        return None
    layers = [
        _directions(
            _shrunk(on_canvas([one.features[index] for one in readings], layout))
        )
        for index in range(len(readings[0].features))
    ]
    features = torch.cat(layers) / math.sqrt(len(layers))
    cells = features.shape[1] * features.shape[2]
    features = _narrowed(features, _MOST_BYTES // (2 * cells))
    return features.to("cpu", torch.float16).numpy()


def on_canvas(pieces: Sequence[Tensor], layout: Layout) -> Tensor:
    """One layer of all windows: float32 (C, Y, X)."""
    resized = [
        piece.float()
        if piece.shape[1:] == layout.window_yx
        else resize(piece, layout.window_yx)
        for piece in pieces
    ]
    return merge_windows(torch.stack(resized), layout)


def kept_grid(canvas_yx: tuple[int, int]) -> tuple[int, int]:
    """The grid of squares of cells, the smallest that leave few enough."""
    rows, columns = canvas_yx
    side = math.ceil(math.sqrt(rows * columns / _MOST_CELLS))
    return math.ceil(rows / side), math.ceil(columns / side)


def _shrunk(features: Tensor) -> Tensor:
    """Means over the squares of `kept_grid`."""
    canvas_yx = (features.shape[1], features.shape[2])
    grid_yx = kept_grid(canvas_yx)
    if grid_yx == canvas_yx:
        return features
    return F.adaptive_avg_pool2d(features[None], grid_yx)[0]


def _directions(features: Tensor) -> Tensor:
    """Where each cell differs from the mean of all, in channels of equal spread."""
    centred = features - features.mean(dim=(1, 2), keepdim=True)
    spread = centred.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
    return F.normalize(centred / spread.clamp(min=1e-6), dim=0)


def _narrowed(features: Tensor, width: int) -> Tensor:
    """The directions in which the image's own cells differ most: (<= width, v, u).

    Principal components by two steps of subspace iteration: few products, where a
    decomposition would cost more than the layers that the features come from.
    """
    if len(features) <= width:
        return features
    flat = features.flatten(1)
    start = torch.randn(
        (len(features), width), generator=torch.Generator().manual_seed(0)
    )
    basis = start.to(flat)
    together = flat @ flat.T
    for _ in range(2):
        basis = torch.linalg.qr(together @ basis).Q
    return (basis.T @ flat).reshape(-1, *features.shape[1:])
