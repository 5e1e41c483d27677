"""What a pass knew of every cell in, the same in a projection that never changes out.

Cells of different images can be compared by it, so that what is learnt of one image
holds for the next; `features` are fitted to each image by itself. The projection is a
random one, which keeps angles (Johnson and Lindenstrauss): it needs no data, and is the
same for all images of the same weights. Pure. Axis letters:

    C  channels of a layer     Y, X  cells of the canvas     v, u  cells that are kept
    E  rows that are kept, see `layer_grid`
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones import PromptTokens, Sample, SampleReading
from segmenter.layer_grid import WIDTHS, grids, pack_groups
from segmenter.modes.features import kept_grid, on_canvas
from segmenter.modes.maps import resize
from segmenter.modes.passes import Passes, size_yx
from segmenter.modes.windows import Layout
from segmenter.types import ImageEncoding

# The seed of the image-text model's projection; layers have their index.
_PATCHES = 1000
# Beside one layer. On pocket scenes, three examples and 5 % false alarms, a label was
# told in 0.84 / 0.87 / 0.84 of the scenes that show it with 1 / 2 / 4.
_PATCHES_WEIGHT = 2.0


def cell_layers(
    readings: Sequence[SampleReading],
    layout: Layout,
    patches: Tensor | None = None,
) -> NDArray[np.float16] | None:
    """Gather what was known of an image's cells: float16 (E, v, u).

    Each layer has the same say, whatever the scale of its channels.

    Args:
        readings: one per window, with the same layers.
        layout: of the windows, in cells of the maps.
        patches: what an image-text model knew, see `patch_layer`; it is of objects
            rather than of edges, so it is kept with the coarsest layers.

    Returns:
        On the grid of `cell_features`; None where nothing was read.
    """
    of_window = [reading.layers or reading.features for reading in readings]
    if not of_window[0]:
        return None
    sizes = grids(kept_grid(layout.canvas_yx))
    groups = [
        torch.zeros(width, *size) for width, size in zip(WIDTHS, sizes, strict=True)
    ]
    for index in range(len(of_window[0])):
        pieces = [layers[index] for layers in of_window]
        group = _group_of(pieces[0], layout, sizes[0])
        groups[group] += _projected(pieces, layout, sizes[group], WIDTHS[group], index)
    if patches is not None:
        groups[-1] += _PATCHES_WEIGHT * _fitted(patches.float(), sizes[-1])
    return pack_groups([group.numpy() for group in groups])


def patch_grid(layout: Layout) -> tuple[int, int, int]:
    """The shape of `patch_layer`."""
    return WIDTHS[-1], *grids(kept_grid(layout.canvas_yx))[-1]


def patch_layer(patches: Tensor, layout: Layout) -> Tensor:
    """What `cell_layers` takes of an image-text model: float16 (E, v, u) on the CPU.

    Args:
        patches: float (C, rows, columns), what it knew of the parts of an image.
        layout: of the windows that show the image, in cells of the maps.
    """
    width, *grid_yx = patch_grid(layout)
    known = _project(patches, width, _PATCHES)
    return _fitted(known, (grid_yx[0], grid_yx[1])).half()


def wordless_layers(
    passes: Passes,
    image: NDArray[np.uint8],
    patches: Tensor | None = None,
    known: ImageEncoding | None = None,
) -> tuple[NDArray[np.float16] | None, Tensor]:
    """The same of an image in which no word is looked for, by a pass without text.

    Args:
        passes: of the model.
        image: uint8 (rows, columns, 3), read as a whole.
        patches: see `cell_layers`.
        known: of the image, see `Passes.view`.

    Returns:
        The layers, and the latents of the pass; see `Passes.encode`.
    """
    cells = passes.views(size_yx(image))[-1]
    (clean,) = passes.encode([passes.view(image, cells, known)])
    latents = passes.add_noise(clean, passes.noise(cells))
    text = passes.text.encode_texts([""])
    start = torch.zeros((1, text.context.shape[1]))
    start[0, 0] = 1
    tokens = PromptTokens(weights=start)
    readings = passes.read(
        [Sample(latent=latent, text=text, tokens=tokens) for latent in latents]
    )
    return cell_layers(readings, passes.map_layout(cells), patches), clean


def _group_of(piece: Tensor, layout: Layout, fine_yx: tuple[int, int]) -> int:
    """How often a layer's cells were halved, as far as there are groups."""
    share = piece[0].numel() / math.prod(layout.window_yx)
    kept = share * math.prod(layout.canvas_yx) / math.prod(fine_yx)
    return min(max(round(-math.log(kept, 4)), 0), len(WIDTHS) - 1)


def _projected(
    pieces: Sequence[Tensor],
    layout: Layout,
    grid_yx: tuple[int, int],
    width: int,
    seed: int,
) -> Tensor:
    """One layer of all windows, on a group's grid: float32 (width, v, u)."""
    # Projected before it is enlarged, which is the same and costs less.
    found = [_project(piece, width, seed) for piece in pieces]
    return _fitted(found[0] if len(found) == 1 else on_canvas(found, layout), grid_yx)


def _project(states: Tensor, width: int, seed: int) -> Tensor:
    """Each cell's state at length 1, projected: float32 (width, Y, X) on the CPU."""
    directions = F.normalize(states.float(), dim=0)
    projection = _random(len(states), width, seed).to(states.device)
    return torch.einsum("ec,cyx->eyx", projection, directions).cpu()


def _fitted(values: Tensor, grid_yx: tuple[int, int]) -> Tensor:
    if tuple(values.shape[1:]) == grid_yx:
        return values
    if values.shape[1] >= grid_yx[0] and values.shape[2] >= grid_yx[1]:
        # Channels last, a CPU averages them side by side.
        last = values[None].to(memory_format=torch.channels_last)
        return F.adaptive_avg_pool2d(last, grid_yx)[0].contiguous()
    return resize(values, grid_yx)


@lru_cache(maxsize=64)
def _random(n_channels: int, width: int, seed: int) -> Tensor:
    """Of one layer: float32 (width, C)."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn((width, n_channels), generator=generator)
    return numbers / math.sqrt(width)
