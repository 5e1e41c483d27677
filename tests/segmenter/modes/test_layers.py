"""What was known of cells, in a projection that is the same for all images."""

import numpy as np
import torch

from segmenter.backbones import SampleReading
from segmenter.layer_grid import WIDTHS, grids, unpack_groups
from segmenter.modes.layers import cell_layers, patch_layer
from segmenter.modes.windows import Layout


def reading(*layers: torch.Tensor) -> SampleReading:
    return SampleReading(levels=(), refine=lambda maps: maps, layers=layers)


def one_window(rows: int, columns: int) -> Layout:
    return Layout(
        canvas_yx=(rows, columns), window_yx=(rows, columns), origins_yx=((0, 0),)
    )


def noise(channels: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, rows, columns, generator=generator)


def found_of(*layers: torch.Tensor, patches: torch.Tensor | None = None) -> np.ndarray:
    layout = one_window(16, 24)
    known = None if patches is None else patch_layer(patches, layout)
    found = cell_layers([reading(*layers)], layout, known)
    assert found is not None
    return found


def test_a_cell_that_two_images_share_is_the_same_in_both() -> None:
    first, second = noise(30, 16, 24, seed=1), noise(30, 16, 24, seed=2)
    second[:, 3, 5] = 7 * first[:, 11, 20]

    one, other = found_of(first), found_of(second)

    np.testing.assert_allclose(one[:64, 11, 20], other[:64, 3, 5], atol=2e-3)
    assert np.abs(one[:64, 0, 0] - other[:64, 0, 0]).max() > 0.1


def test_angles_between_cells_are_kept() -> None:
    layer = noise(300, 4, 6)

    groups = unpack_groups(found_of(layer))

    cells = torch.nn.functional.normalize(layer, dim=0).reshape(300, -1)
    kept = groups[2]
    error = kept.T @ kept - (cells.T @ cells).numpy()
    assert np.abs(error).mean() < 0.05


def test_layers_lie_in_the_group_of_their_grid() -> None:
    for group, grid_yx in enumerate(grids((16, 24))):
        groups = unpack_groups(found_of(noise(8, *grid_yx)))

        assert [bool(one.any()) for one in groups] == [g == group for g in range(3)]


def test_patches_are_kept_with_the_coarsest_layers() -> None:
    layer = noise(8, 16, 24)

    with_patches = unpack_groups(found_of(layer, patches=noise(20, 7, 7)))
    without = unpack_groups(found_of(layer))

    np.testing.assert_array_equal(with_patches[0], without[0])
    assert with_patches[2].any()
    assert not without[2].any()


def test_windows_are_merged() -> None:
    whole = noise(8, 16, 32)
    layout = Layout(
        canvas_yx=(16, 32), window_yx=(16, 20), origins_yx=((0, 0), (0, 12))
    )
    pieces = [reading(whole[:, :, :20]), reading(whole[:, :, 12:])]

    found = cell_layers(pieces, layout)
    wanted = cell_layers([reading(whole)], one_window(16, 32))

    assert found is not None
    assert wanted is not None
    np.testing.assert_allclose(found[: WIDTHS[0]], wanted[: WIDTHS[0]], atol=2e-3)


def test_a_family_that_tells_of_features_alone_is_read_by_them() -> None:
    layer = noise(8, 16, 24)
    features = SampleReading(levels=(), refine=lambda maps: maps, features=(layer,))

    found = cell_layers([features], one_window(16, 24))

    np.testing.assert_array_equal(found, found_of(layer))
    bare = SampleReading(levels=(), refine=lambda maps: maps)
    assert cell_layers([bare], one_window(4, 4)) is None


def test_a_large_canvas_is_kept_on_the_grid_of_the_features() -> None:
    found = cell_layers([reading(noise(4, 64, 96))], one_window(64, 96))

    assert found is not None
    assert found.shape[1] * found.shape[2] <= 1152
    assert found.nbytes <= 500_000
