"""The maps against the published recipe, written out here without economy."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.segmenter.tiny_models import (
    FOUR_LEVELS,
    PAPER_WEIGHTS,
    THREE_LEVELS,
    draw_inputs,
    make_unet,
    paper_style_maps,
)

# The self-attention product takes 256 rows at a time: the first two grids fit into
# one such block, the others need a second that they do not fill.
LATENTS = [
    pytest.param((16, 16), id="square"),
    pytest.param((8, 12), id="wide"),
    pytest.param((24, 16), id="tall-above-a-block"),
    pytest.param((15, 23), id="odd-wide"),
    pytest.param((29, 11), id="odd-tall"),
]


def explicit_softmax(layer: Any, hidden: Tensor, source: Tensor) -> Tensor:
    """One sample's heads, (H, Q, K) in float64, exponentials written out."""
    query = (hidden[0].double() @ layer.to_q.weight.double().T).chunk(layer.heads, 1)
    key = (source[0].double() @ layer.to_k.weight.double().T).chunk(layer.heads, 1)
    heads = []
    for q, k in zip(query, key, strict=True):
        weights = (q @ k.T / q.shape[1] ** 0.5).exp()
        heads.append(weights / weights.sum(dim=1, keepdim=True))
    return torch.stack(heads)


@contextmanager
def watched_layers(
    unet: Any, cross: dict[tuple[int, int], list[Tensor]], own: list[Tensor]
) -> Iterator[None]:
    """Fill `cross` by grid and `own` at latent resolution with softmaxed heads."""
    grid = [(0, 0)]
    largest = [(0, 0)]

    def enter(_: Any, args: Any) -> None:
        grid[0] = tuple(args[0].shape[2:])
        largest[0] = max(largest[0], grid[0])

    def note_self(layer: Any, args: Any, kwargs: Any) -> None:
        if grid[0] == largest[0]:
            own.append(explicit_softmax(layer, args[0], args[0]))

    def note_cross(layer: Any, args: Any, kwargs: Any) -> None:
        source = kwargs["encoder_hidden_states"]
        cross[grid[0]].append(explicit_softmax(layer, args[0], source))

    handles = []
    for name, module in unet.named_modules():
        if type(module).__name__ == "Transformer2DModel":
            handles.append(module.register_forward_pre_hook(enter))
        if name.endswith(".attn1"):
            hook = module.register_forward_pre_hook(note_self, with_kwargs=True)
            handles.append(hook)
        if name.endswith(".attn2"):
            hook = module.register_forward_pre_hook(note_cross, with_kwargs=True)
            handles.append(hook)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def min_max(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def paper_map(
    unet: Any,
    latent: Tensor,
    context: Tensor,
    tokens: Sequence[int],
    weights: Sequence[float],
    *,
    products: int = 1,
) -> Tensor:
    """The published recipe, step by step, one label, nothing saved on memory."""
    cross: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
    own: list[Tensor] = []
    with watched_layers(unet, cross, own):
        unet(latent, 100, context)
    fused = torch.zeros(latent.shape[2:], dtype=torch.float64)
    for grid, weight in zip(sorted(cross), weights, strict=False):
        heads = torch.cat(cross[grid])  # of all layers: (H, Q, K)
        level = heads.mean(dim=0)[:, list(tokens)].mean(dim=1).view(1, 1, *grid)
        resized = F.interpolate(
            level, latent.shape[2:], mode="bilinear", align_corners=False
        )
        fused += weight * min_max(resized[0, 0])
    matrix = torch.cat(own).mean(dim=0)  # (N, N)
    for _ in range(products):
        fused = (matrix @ fused.flatten()).view_as(fused)
    return min_max(fused)


@pytest.mark.parametrize("latent_yx", LATENTS)
@pytest.mark.parametrize(
    "down_blocks",
    [
        pytest.param(FOUR_LEVELS, id="four-levels"),
        pytest.param(THREE_LEVELS, id="three-levels"),
    ],
)
def test_maps_are_those_of_the_published_recipe(
    down_blocks: tuple[str, ...], latent_yx: tuple[int, int]
) -> None:
    unet = make_unet(down_blocks)
    latent, context, read = draw_inputs(latent_yx, batch=3)

    found = paper_style_maps(unet, latent, context, read)

    expected = [
        paper_map(unet, latent, context[row, None], range(4, 5 + row), PAPER_WEIGHTS)
        for row in range(3)
    ]
    assert found.shape == (3, *latent_yx)
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("products", [0, 2])
def test_maps_apply_as_many_products_as_asked(products: int) -> None:
    unet = make_unet()
    latent, context, read = draw_inputs((15, 23), batch=1)

    found = paper_style_maps(unet, latent, context, read, products=products)

    expected = paper_map(unet, latent, context, [4], PAPER_WEIGHTS, products=products)
    torch.testing.assert_close(found[0].double(), expected, rtol=0, atol=1e-4)


def test_maps_of_a_batch_are_those_of_each_label_alone() -> None:
    unet = make_unet()
    latent, context, read = draw_inputs((8, 12), batch=3)

    together = paper_style_maps(unet, latent, context, read)

    for row in range(3):
        one = slice(row, row + 1)
        alone = paper_style_maps(unet, latent, context[one], read[one])
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-4)
