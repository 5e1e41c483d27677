from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segmenter.backbones.capture import AttentionCall
from segmenter.backbones.unet.reading import SampleReading
from segmenter.modes.maps import (
    compete,
    fuse_levels,
    keep_off_background,
    spread_by_self_attention,
    stretch,
)
from tests.segmenter.tiny_models import (
    draw_inputs,
    make_unet,
    paper_style_maps,
    whole,
)


def reading(levels: dict[int, Tensor]) -> SampleReading:
    return SampleReading(levels=levels, spreading=[])


def test_fuse_levels_weighs_each_depth_on_the_canvas() -> None:
    levels = {depth: torch.zeros(1, 8 >> depth, 8 >> depth) for depth in (2, 1, 0)}
    levels[2][0, 0, 0] = levels[1][0, -1, 0] = levels[0][0, 0, -1] = 7.0

    fused = fuse_levels(
        [reading(levels)],
        whole((8, 8)),
        weights={2: 0.3, 1: 0.5, 0: 0.1},
        stretches=True,
    )

    corners = [fused[0, 0, 0], fused[0, -1, 0], fused[0, 0, -1]]
    torch.testing.assert_close(torch.stack(corners), torch.tensor([0.3, 0.5, 0.1]))


def test_fuse_levels_without_stretching_is_their_weighted_mean() -> None:
    levels = {1: torch.full((2, 3, 4), 0.2), 0: torch.full((2, 6, 8), 0.6)}

    fused = fuse_levels(
        [reading(levels)], whole((6, 8)), weights={1: 3.0, 0: 1.0}, stretches=False
    )

    torch.testing.assert_close(fused, torch.full((2, 6, 8), 0.3))


def test_fuse_levels_takes_half_precision_and_gives_float32() -> None:
    fused = fuse_levels(
        [reading({1: torch.rand(2, 3, 5).half()})],
        whole((6, 10)),
        weights={1: 1.0},
        stretches=True,
    )

    assert fused.dtype == torch.float32
    assert fused.shape == (2, 6, 10)


def test_compete_gives_each_label_its_share_of_every_cell() -> None:
    rows = torch.tensor([0.2, 0.4, 0.1, 0.1]).view(4, 1, 1).expand(4, 2, 3)

    found = compete(rows, torch.ones(2))

    expected = torch.tensor([0.25, 0.5]).view(2, 1, 1).expand(2, 2, 3)
    torch.testing.assert_close(found, expected)


def test_compete_lets_a_label_that_is_not_there_take_nothing() -> None:
    rows = torch.tensor([0.2, 0.4, 0.2]).view(3, 1, 1)

    found = compete(rows, torch.tensor([1.0, 0.0]))

    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.0]))


def test_compete_survives_a_cell_that_nothing_attends_to() -> None:
    found = compete(torch.zeros(3, 2, 2), torch.ones(2))

    assert torch.equal(found, torch.zeros(2, 2, 2))


@pytest.mark.parametrize(
    ("label", "word", "kept"),
    [(0.7, 0.6, 0.7), (0.7, 0.7, 0.7), (0.7, 0.9, 0.0), (0.7, 0.71, 0.62)],
)
def test_a_label_keeps_its_score_where_no_background_word_has_more(
    label: float, word: float, kept: float
) -> None:
    words = torch.tensor([0.1, word]).view(2, 1, 1)

    found = keep_off_background(torch.full((1, 1, 1), label), words)

    assert float(found) == pytest.approx(kept, abs=1e-6)


def test_no_background_words_change_nothing() -> None:
    labels = torch.rand(2, 3, 4)

    assert keep_off_background(labels, torch.zeros(0, 3, 4)) is labels


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


def random_calls(n_layers: int, cells: int) -> list[AttentionCall]:
    generator = torch.Generator().manual_seed(3)
    return [
        AttentionCall(
            layer=str(layer),
            kind="self",
            query=3 * torch.randn(1, 2, cells, 4, generator=generator),
            key=torch.randn(1, 2, cells, 4, generator=generator),
            scale=0.5,
            project=lambda source: source,
        )
        for layer in range(n_layers)
    ]


@pytest.mark.parametrize(
    "size_yx", [(1, 1), (3, 5), (16, 16), (1, 257), (17, 30), (40, 64)]
)
def test_spread_is_the_product_with_the_whole_matrix(size_yx: tuple[int, int]) -> None:
    cells = size_yx[0] * size_yx[1]
    calls = random_calls(2, cells=cells)
    maps = torch.rand(3, *size_yx, generator=torch.Generator().manual_seed(4))

    found = spread_by_self_attention(maps, calls)

    matrix = torch.cat([call.probabilities()[0] for call in calls]).mean(dim=0)
    expected = (maps.flatten(1) @ matrix.T).view_as(maps)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_spread_leaves_a_constant_map_alone() -> None:
    maps = torch.full((1, 20, 20), 0.25)

    found = spread_by_self_attention(maps, random_calls(1, cells=400))

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
        paper_style_maps(unet, latent, context, read)
    with LargestTensor() as product_alone:
        spread_by_self_attention(torch.rand(1, 64, 64), random_calls(1, cells=cells))

    # Two heads of 256 rows at once, an eighth of one head's matrix.
    assert 0 < product_alone.numel <= cells**2 // 8
    assert 0 < whole_run.numel <= cells**2 // 8
