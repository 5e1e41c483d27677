from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segmenter.attention import AttentionCall, capture
from segmenter.errors import UnsupportedModel
from segmenter.maps import (
    MapCollector,
    fuse_levels,
    level_grids,
    spread_by_self_attention,
    stretch,
)
from tests.segmenter.tiny_models import (
    FOUR_LEVELS,
    NO_LATENT_LEVEL,
    THREE_LEVELS,
    collect,
    draw_inputs,
    make_unet,
)

PAPER_WEIGHTS = (0.3, 0.5, 0.1, 0.1)


@pytest.mark.parametrize(
    ("down_blocks", "grids"),
    [
        pytest.param(FOUR_LEVELS, [(2, 3), (4, 6), (8, 12), (15, 23)], id="four"),
        pytest.param(THREE_LEVELS, [(4, 6), (8, 12), (15, 23)], id="three"),
        pytest.param(NO_LATENT_LEVEL, [(8, 12)], id="no-latent-level"),
    ],
)
def test_levels_come_coarsest_first_and_keep_rows_and_columns_apart(
    down_blocks: tuple[str, ...], grids: list[tuple[int, int]]
) -> None:
    collector = collect(make_unet(down_blocks), *draw_inputs((15, 23), batch=2))

    assert [tuple(level.shape) for level in collector.levels()] == [
        (2, *grid) for grid in grids
    ]


def test_levels_average_over_heads_and_layers_alike() -> None:
    read = torch.tensor([[0.0, 1.0]])
    collector = MapCollector(read, latent_yx=(1, 2))
    # Two layers of one and of three heads; a bias on the key of token 1 sets its odds.
    heads = [0.9, 0.1, 0.2, 0.4]
    for chosen in (heads[:1], heads[1:]):
        odds = torch.tensor(chosen).logit()
        key = torch.stack([torch.zeros_like(odds), odds], dim=1)[None, :, :, None]
        query = torch.ones(1, len(chosen), 2, 1)
        collector.read(
            AttentionCall(layer="x", kind="cross", query=query, key=key, scale=1.0)
        )

    (level,) = collector.levels()

    torch.testing.assert_close(level, torch.full((1, 1, 2), sum(heads) / 4))


def test_levels_refuse_a_unet_that_reads_no_text() -> None:
    collector = MapCollector(torch.ones(1, 1), latent_yx=(2, 2))

    with pytest.raises(UnsupportedModel, match="no cross-attention"):
        collector.levels()


def test_levels_refuse_a_grid_that_is_not_the_latent_halved() -> None:
    unet = make_unet()
    latent, context, read = draw_inputs((8, 12), batch=1)
    collector = MapCollector(read, latent_yx=(9, 12))
    with capture(unet, collector.read):
        unet(latent, 100, context)

    with pytest.raises(UnsupportedModel, match=r"96.*\(9, 12\)"):
        collector.levels()


def test_maps_refuse_a_product_where_self_attention_starts_below_the_latent() -> None:
    collector = collect(make_unet(NO_LATENT_LEVEL), *draw_inputs((8, 12), batch=1))

    with pytest.raises(UnsupportedModel, match="self_attention_products to 0"):
        collector.maps(level_weights=PAPER_WEIGHTS, self_attention_products=1)
    bare = collector.maps(level_weights=PAPER_WEIGHTS, self_attention_products=0)

    assert bare.shape == (1, 8, 12)


def test_fuse_levels_weighs_from_coarse_to_fine() -> None:
    levels = [torch.zeros(1, 2, 2), torch.zeros(1, 4, 4), torch.zeros(1, 8, 8)]
    for corner, level in enumerate(levels):
        level[0, -(corner % 2), -(corner // 2)] = 1.0

    fused = fuse_levels(levels, grid_yx=(8, 8), weights=PAPER_WEIGHTS)

    corners = [fused[0, 0, 0], fused[0, -1, 0], fused[0, 0, -1]]
    torch.testing.assert_close(torch.stack(corners), torch.tensor([0.3, 0.5, 0.1]))


def test_fuse_levels_leaves_out_the_finest_when_weights_run_out() -> None:
    levels = [torch.rand(1, side, side) for side in (2, 4, 8)]

    found = fuse_levels(levels, grid_yx=(8, 8), weights=(0.3, 0.5))

    expected = fuse_levels(levels[:2], grid_yx=(8, 8), weights=(0.3, 0.5, 0.1, 0.1))
    torch.testing.assert_close(found, expected)


def test_fuse_levels_takes_half_precision_and_gives_float32() -> None:
    level = torch.rand(2, 3, 5).half()

    fused = fuse_levels([level], grid_yx=(6, 10), weights=(1.0,))

    assert fused.dtype == torch.float32
    assert fused.shape == (2, 6, 10)


def test_stretch_turns_constant_maps_to_zeros() -> None:
    maps = torch.stack([torch.full((3, 4), 0.7), torch.arange(12.0).view(3, 4)])

    found = stretch(maps)

    assert torch.equal(found[0], torch.zeros(3, 4))
    torch.testing.assert_close(found[1], torch.arange(12.0).view(3, 4) / 11)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size_yx=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    scale=st.floats(1e-6, 1e6),
    offset=st.floats(-10, 10),
)
def test_stretch_reaches_both_ends_and_keeps_the_order(
    seed: int, size_yx: tuple[int, int], scale: float, offset: float
) -> None:
    noise = torch.rand(2, *size_yx, generator=torch.Generator().manual_seed(seed))
    maps = noise.double() * scale + offset

    found = stretch(maps).flatten(1)

    if maps[0].numel() > 1:
        assert torch.equal(found.amin(dim=1), torch.zeros(2).double())
        assert torch.equal(found.amax(dim=1), torch.ones(2).double())
    order = maps.flatten(1).argsort(dim=1)
    assert (found.gather(1, order).diff(dim=1) >= 0).all()


@given(size_yx=st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_level_grids_hold_the_latent_and_every_convolved_half(
    size_yx: tuple[int, int],
) -> None:
    grids = level_grids(size_yx)

    assert grids[size_yx[0] * size_yx[1]] == size_yx
    assert (1, 1) in grids.values()
    rows, columns = size_yx
    # Stride 2, kernel 3, padding 1: what the U-Net's downsamplers do.
    halved = ((rows + 2 - 3) // 2 + 1, (columns + 2 - 3) // 2 + 1)
    assert halved in grids.values()


def random_calls(n_layers: int, batch: int, cells: int) -> list[AttentionCall]:
    generator = torch.Generator().manual_seed(3)
    return [
        AttentionCall(
            layer=str(layer),
            kind="self",
            query=3 * torch.randn(batch, 2, cells, 4, generator=generator),
            key=torch.randn(batch, 2, cells, 4, generator=generator),
            scale=0.5,
        )
        for layer in range(n_layers)
    ]


@pytest.mark.parametrize(
    "size_yx", [(1, 1), (3, 5), (16, 16), (1, 257), (17, 30), (32, 16)]
)
def test_spread_is_the_product_with_the_whole_matrix(size_yx: tuple[int, int]) -> None:
    cells = size_yx[0] * size_yx[1]
    calls = random_calls(2, batch=3, cells=cells)
    maps = torch.rand(3, *size_yx, generator=torch.Generator().manual_seed(4))

    found = spread_by_self_attention(maps, calls)

    whole = torch.cat([call.probabilities() for call in calls], dim=1).mean(dim=1)
    expected = (whole @ maps.flatten(1)[..., None]).view_as(maps)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_spread_leaves_a_constant_map_alone() -> None:
    maps = torch.full((1, 20, 20), 0.25)

    found = spread_by_self_attention(maps, random_calls(1, batch=1, cells=400))

    torch.testing.assert_close(found, maps)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation holds."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.numel = max(self.numel, leaf.numel())
        return result


def test_no_step_forms_the_cells_by_cells_matrix() -> None:
    cells = 64 * 64
    unet = make_unet(("CrossAttnDownBlock2D",))
    latent, context, read = draw_inputs((64, 64), batch=1)

    with LargestTensor() as whole_run:
        collector = collect(unet, latent, context, read)
        collector.maps(level_weights=PAPER_WEIGHTS, self_attention_products=1)
    with LargestTensor() as product_alone:
        spread_by_self_attention(
            torch.rand(1, 64, 64), random_calls(1, batch=1, cells=cells)
        )

    # Two heads of 256 rows at once, an eighth of one head's matrix.
    assert 0 < product_alone.numel <= cells**2 // 8
    assert 0 < whole_run.numel <= cells**2 // 8
