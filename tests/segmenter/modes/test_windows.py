import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.modes.windows import Layout, cut_windows, lay_out, merge_windows

SIZES = st.tuples(st.integers(1, 6000), st.integers(1, 6000))


def arrange(
    size_yx: tuple[int, int], *, keeps_aspect: bool = False, max_windows: int = 1
) -> Layout:
    return lay_out(
        size_yx,
        side_blocks=8,
        block_px=64,
        keeps_aspect=keeps_aspect,
        max_windows=max_windows,
    )


@pytest.mark.parametrize("size_yx", [(1, 1), (512, 512), (300, 4000)])
def test_one_window_is_the_square_that_the_model_was_trained_on(
    size_yx: tuple[int, int],
) -> None:
    assert arrange(size_yx) == Layout(
        canvas_yx=(8, 8), window_yx=(8, 8), origins_yx=((0, 0),)
    )


@pytest.mark.parametrize(
    ("size_yx", "window_yx"),
    [
        ((512, 512), (8, 8)),
        ((480, 640), (7, 9)),
        ((640, 480), (9, 7)),
        ((500, 1500), (5, 14)),
        # Longer than three to one is squashed to that.
        ((500, 5000), (5, 14)),
    ],
)
def test_keeping_the_aspect_keeps_the_number_of_blocks_about(
    size_yx: tuple[int, int], window_yx: tuple[int, int]
) -> None:
    assert arrange(size_yx, keeps_aspect=True).window_yx == window_yx


@pytest.mark.parametrize(
    ("size_yx", "max_windows", "n_windows"),
    [
        ((512, 512), 9, 1),
        ((1024, 1024), 9, 4),
        ((1024, 1024), 3, 1),
        ((512, 1024), 9, 2),
        ((1024, 512), 9, 2),
        ((4000, 4000), 9, 9),
        ((4000, 4000), 16, 16),
    ],
)
def test_windows_are_as_many_as_the_image_has_pixels_for(
    size_yx: tuple[int, int], max_windows: int, n_windows: int
) -> None:
    found = arrange(size_yx, max_windows=max_windows)

    assert len(found.origins_yx) == n_windows


@given(size_yx=SIZES, keeps_aspect=st.booleans(), max_windows=st.integers(1, 12))
def test_windows_cover_the_canvas_and_stay_on_it(
    size_yx: tuple[int, int], keeps_aspect: bool, max_windows: int
) -> None:
    found = arrange(size_yx, keeps_aspect=keeps_aspect, max_windows=max_windows)

    assert 1 <= len(found.origins_yx) <= max_windows
    covered = torch.zeros(found.canvas_yx, dtype=torch.bool)
    for rows, columns in found.slices():
        assert covered[rows, columns].shape == found.window_yx
        covered[rows, columns] = True
    assert covered.all()


@settings(deadline=None)
@given(size_yx=SIZES, keeps_aspect=st.booleans(), max_windows=st.integers(1, 6))
def test_merging_what_was_cut_gives_back_the_canvas(
    size_yx: tuple[int, int], keeps_aspect: bool, max_windows: int
) -> None:
    layout = arrange(size_yx, keeps_aspect=keeps_aspect, max_windows=max_windows)
    canvas = torch.rand(2, *layout.canvas_yx)

    found = merge_windows(cut_windows(canvas, layout), layout)

    torch.testing.assert_close(found, canvas)


def test_a_window_fades_out_towards_its_edge() -> None:
    layout = arrange((512, 1024), max_windows=2).scaled(8)
    pieces = torch.zeros(2, 1, 64, 64)
    pieces[1] = 1.0

    merged = merge_windows(pieces, layout)[0]

    steps = merged.diff(dim=1)
    assert merged[0, 0] == 0
    assert merged[0, -1] == 1
    # From 0 to 1 over the 16 columns that both cover, without a jump.
    assert float(steps.min()) >= 0
    assert float(steps.max()) < 2 / 16


def test_layouts_change_their_unit() -> None:
    layout = arrange((512, 1024), max_windows=2)

    assert layout.scaled(8).canvas_yx == (64, 112)
    assert layout.scaled(8).origins_yx == ((0, 0), (0, 48))
    assert layout.scaled(8).divided(4) == layout.scaled(2)


def test_windows_cut_the_image_itself_where_they_lie_on_the_canvas() -> None:
    layout = Layout(canvas_yx=(10, 20), window_yx=(10, 12), origins_yx=((0, 0), (0, 8)))
    pixels = np.arange(50 * 60 * 3).reshape(50, 60, 3).astype(np.uint8)

    left, right = layout.cut_image(pixels)

    np.testing.assert_array_equal(left, pixels[:, :36])
    np.testing.assert_array_equal(right, pixels[:, 24:])
