import numpy as np
import pytest
import torch
from torch import Tensor

from segmenter.backbones import SampleReading
from segmenter.modes.features import cell_features
from segmenter.modes.windows import Layout, lay_out


def one_window(rows: int, columns: int) -> Layout:
    return Layout(
        canvas_yx=(rows, columns), window_yx=(rows, columns), origins_yx=((0, 0),)
    )


def reading(*layers: Tensor) -> SampleReading:
    return SampleReading(levels=(), refine=lambda maps: maps, features=layers)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosines(features: np.ndarray) -> np.ndarray:
    flat = features.reshape(len(features), -1).astype(np.float32)
    return flat.T @ flat


def test_every_layer_has_the_same_say_whatever_the_scale_of_its_channels() -> None:
    layers = noise(6, 5, 8), noise(3, 5, 8, seed=1)

    found = cell_features([reading(*layers)], one_window(5, 8))
    scaled = cell_features(
        [
            reading(
                layers[0] * 100 + 7,
                layers[1] * torch.tensor([1.0, 9, 0.1])[:, None, None],
            )
        ],
        one_window(5, 8),
    )

    assert found is not None
    assert scaled is not None
    assert found.dtype == np.float16
    assert found.shape == (9, 5, 8)
    np.testing.assert_allclose(cosines(found), cosines(scaled), atol=5e-3)
    np.testing.assert_allclose(np.diag(cosines(found)), 1, atol=5e-3)
    np.testing.assert_allclose((found[:6].astype(float) ** 2).sum(0), 0.5, atol=5e-3)


def test_a_coarser_layer_is_brought_to_the_cells_of_the_maps() -> None:
    found = cell_features([reading(noise(4, 6, 10), noise(4, 3, 5))], one_window(6, 10))

    assert found is not None
    assert found.shape == (8, 6, 10)


@pytest.mark.parametrize(
    ("grid", "kept"),
    [
        ((32, 32), (32, 32)),
        ((40, 28), (40, 28)),
        ((64, 64), (32, 32)),
        ((128, 128), (32, 32)),
        ((112, 40), (56, 20)),
        ((65, 33), (33, 17)),
    ],
)
def test_the_grid_is_bounded_and_keeps_its_shape(
    grid: tuple[int, int], kept: tuple[int, int]
) -> None:
    found = cell_features([reading(noise(640, *grid))], one_window(*grid))

    assert found is not None
    assert found.shape[1:] == kept
    assert found.nbytes <= 250_000
    assert found.nbytes > 200_000


def test_what_is_left_of_wide_features_tells_the_same_cells_apart() -> None:
    kinds = noise(640, 5)
    owners = torch.randint(0, 5, (32, 32), generator=torch.Generator().manual_seed(1))
    wide = kinds[:, owners] + 0.5 * noise(640, 32, 32, seed=2)

    found = cell_features([reading(wide)], one_window(32, 32))

    assert found is not None
    alike = owners.flatten()[:, None] == owners.flatten()
    similar = torch.from_numpy(cosines(found))
    assert similar[alike].mean() > 0.6
    assert similar[~alike].abs().mean() < 0.3


def test_features_are_the_same_each_time() -> None:
    wide = reading(noise(300, 32, 32))

    first, second = (cell_features([wide], one_window(32, 32)) for _ in range(2))

    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, second)


def test_windows_are_merged_on_the_canvas() -> None:
    layout = lay_out(
        (200, 800), side_blocks=8, block_px=25, keeps_aspect=False, max_windows=4
    )
    pieces = [
        reading(noise(4, *layout.window_yx, seed=index))
        for index in range(len(layout.origins_yx))
    ]
    assert len(pieces) > 1

    found = cell_features(pieces, layout)

    assert found is not None
    assert found.shape == (4, *layout.canvas_yx)


def test_a_model_without_features_has_none() -> None:
    assert cell_features([reading()], one_window(4, 4)) is None


def test_features_that_are_all_alike_are_nothing_rather_than_no_number() -> None:
    found = cell_features([reading(torch.ones(3, 4, 5))], one_window(4, 5))

    assert found is not None
    np.testing.assert_array_equal(found, np.zeros((3, 4, 5)))
