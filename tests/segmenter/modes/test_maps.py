import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segmenter.backbones import Level, SampleReading
from segmenter.modes.maps import (
    compete,
    fuse_levels,
    keep_off_background,
    level_on_canvas,
    refine_over_windows,
    stretch,
)
from segmenter.modes.windows import Layout
from tests.segmenter.tiny_models import whole


def reading(*levels: tuple[Tensor, float]) -> SampleReading:
    return SampleReading(
        levels=tuple(Level(maps=maps, weight=weight) for maps, weight in levels),
        refine=lambda maps: maps,
    )


def test_fuse_levels_weighs_each_depth_on_the_canvas() -> None:
    coarse, middle, fine = (torch.zeros(1, side, side) for side in (2, 4, 8))
    coarse[0, 0, 0] = middle[0, -1, 0] = fine[0, 0, -1] = 7.0

    fused = fuse_levels(
        [reading((coarse, 0.3), (middle, 0.5), (fine, 0.1))],
        whole((8, 8)),
        stretches=True,
    )

    corners = [fused[0, 0, 0], fused[0, -1, 0], fused[0, 0, -1]]
    torch.testing.assert_close(torch.stack(corners), torch.tensor([0.3, 0.5, 0.1]))


def test_fuse_levels_without_stretching_is_their_weighted_mean() -> None:
    coarse, fine = torch.full((2, 3, 4), 0.2), torch.full((2, 6, 8), 0.6)

    fused = fuse_levels(
        [reading((coarse, 3.0), (fine, 1.0))], whole((6, 8)), stretches=False
    )

    torch.testing.assert_close(fused, torch.full((2, 6, 8), 0.3))


def test_fuse_levels_takes_half_precision_and_gives_float32() -> None:
    fused = fuse_levels(
        [reading((torch.rand(2, 3, 5).half(), 1.0))], whole((6, 10)), stretches=True
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


def test_a_label_that_is_not_there_may_have_a_map_of_its_own() -> None:
    rows = torch.tensor([0.2, 0.4, 0.2]).view(3, 1, 1)

    found = compete(rows, torch.tensor([1.0, 0.0]), own=torch.ones(2))

    # 0.2 of 0.2 + 0.2 as before, and 0.4 of 0.2 + 0.4 + 0.2.
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.5]))


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


TWO = Layout(canvas_yx=(2, 6), window_yx=(2, 4), origins_yx=((0, 0), (0, 2)))


def test_level_on_canvas_takes_one_level_of_every_window() -> None:
    windows = [
        reading((torch.full((1, 1, 2), value), 0.5), (torch.zeros(1, 2, 4), 0.5))
        for value in (1.0, 3.0)
    ]

    found = level_on_canvas(windows, TWO, 0)

    assert found.shape == (1, 2, 6)
    assert (found[..., :2] == 1).all()
    assert (found[..., 4:] == 3).all()
    assert ((found[..., 2:4] > 1) & (found[..., 2:4] < 3)).all()
    assert (level_on_canvas(windows, TWO, 1) == 0).all()


def test_refine_over_windows_gives_each_window_its_own_cells_to_its_own_model() -> None:
    seen: list[Tensor] = []

    def refining(factor: float) -> SampleReading:
        def refine(maps: Tensor) -> Tensor:
            seen.append(maps)
            return factor * maps

        return SampleReading(levels=(), refine=refine)

    maps = torch.arange(12.0).view(1, 2, 6)

    found = refine_over_windows(maps, [refining(1.0), refining(-1.0)], TWO)

    assert torch.equal(seen[0], maps[..., :4])
    assert torch.equal(seen[1], maps[..., 2:])
    torch.testing.assert_close(found[..., :2], maps[..., :2])
    torch.testing.assert_close(found[..., 4:], -maps[..., 4:])
