"""What a pass knew of every cell in, the same in a projection that never changes out.

Cells of different images can be compared by it, so that what is learnt of one image
holds for the next; `features` are fitted to each image by itself. The projection is a
random one, which keeps angles (Johnson and Lindenstrauss): it needs no data, and is the
same for all images of the same weights. Pure. Axis letters:

    C  channels of a layer     Y, X  cells of the canvas     v, u  cells that are kept
    E  numbers that are kept of a cell
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones import PromptTokens, Sample, SampleReading
from segmenter.modes.features import on_canvas, shrunk
from segmenter.modes.passes import Passes, size_yx
from segmenter.modes.windows import Layout

# At most 1152 cells of float16: 442 kB.
WIDTH: Final = 192


def cell_layers(
    readings: Sequence[SampleReading], layout: Layout
) -> NDArray[np.float16] | None:
    """Gather what was known of an image's cells: float16 (E, v, u).

    Each layer has the same say, whatever the scale of its channels.

    Args:
        readings: one per window, with the same layers.
        layout: of the windows, in cells of the maps.

    Returns:
        On the grid of `cell_features`; None where nothing was read.
    """
    of_window = [reading.layers or reading.features for reading in readings]
    total: Tensor | None = None
    for index in range(len(of_window[0])):
        # Projected before it is enlarged, which is the same and costs less.
        pieces = [
            torch.einsum("ec,cyx->eyx", _projection(one, index), _directions(one))
            for layers in of_window
            for one in [layers[index]]
        ]
        projected = shrunk(on_canvas(pieces, layout))
        total = projected if total is None else total + projected
    return None if total is None else total.to("cpu", torch.float16).numpy()


def wordless_layers(
    passes: Passes, image: NDArray[np.uint8]
) -> NDArray[np.float16] | None:
    """The same of an image in which no word is looked for, by a pass without text.

    Args:
        passes: of the model.
        image: uint8 (rows, columns, 3), read as a whole.
    """
    cells = passes.views(size_yx(image))[-1]
    latents = passes.latents(passes.cut(image, cells), passes.noise(cells))
    text = passes.text.encode_texts([""])
    start = torch.zeros((1, text.context.shape[1]))
    start[0, 0] = 1
    tokens = PromptTokens(weights=start)
    readings = passes.read(
        [Sample(latent=latent, text=text, tokens=tokens) for latent in latents]
    )
    return cell_layers(readings, passes.map_layout(cells))


def _directions(states: Tensor) -> Tensor:
    """Each cell's state at length 1: float32 (C, Y, X)."""
    return F.normalize(states.float(), dim=0)


def _projection(like: Tensor, index: int) -> Tensor:
    return _random(len(like), index).to(like.device)


@lru_cache(maxsize=64)
def _random(n_channels: int, index: int) -> Tensor:
    """Of one layer: float32 (E, C)."""
    generator = torch.Generator().manual_seed(index)
    numbers = torch.randn((WIDTH, n_channels), generator=generator)
    return numbers / math.sqrt(WIDTH)
