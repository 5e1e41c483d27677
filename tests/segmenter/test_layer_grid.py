"""Coarse layers lie packed behind fine ones."""

import cv2
import numpy as np
import pytest

from segmenter.layer_grid import (
    WIDTHS,
    enlargements,
    grids,
    pack_groups,
    unpack_groups,
)

SHAPES = [
    pytest.param((32, 32), id="square"),
    pytest.param((24, 48), id="wide"),
    pytest.param((33, 31), id="odd"),
    pytest.param((1, 1), id="one cell"),
    pytest.param((5, 1), id="column"),
]


def groups_of(grid_yx: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(width, *size)).astype(np.float16).astype(np.float32)
        for width, size in zip(WIDTHS, grids(grid_yx), strict=True)
    ]


@pytest.mark.parametrize("grid_yx", SHAPES)
def test_what_is_packed_is_unpacked(grid_yx: tuple[int, int]) -> None:
    groups = groups_of(grid_yx)

    packed = pack_groups(groups)

    assert packed.dtype == np.float16
    assert packed.shape[1:] == grid_yx
    for before, after in zip(groups, unpack_groups(packed), strict=True):
        np.testing.assert_array_equal(after, before.reshape(len(before), -1))


def test_an_image_takes_no_more_than_half_a_megabyte() -> None:
    for grid_yx in ((32, 32), (24, 48), (48, 24), (33, 34)):
        assert pack_groups(groups_of(grid_yx)).nbytes <= 500_000


@pytest.mark.parametrize("grid_yx", SHAPES)
def test_coarse_groups_are_enlarged_bilinearly(grid_yx: tuple[int, int]) -> None:
    for size, enlarge in zip(grids(grid_yx), enlargements(grid_yx), strict=True):
        values = np.random.default_rng(1).random(size).astype(np.float32)

        found = (enlarge @ values.ravel()).reshape(grid_yx)

        wanted = cv2.resize(values, grid_yx[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found, wanted.reshape(grid_yx), atol=1e-4)


def test_other_rows_than_a_grid_has_are_refused() -> None:
    packed = pack_groups(groups_of((8, 8)))

    with pytest.raises(ValueError, match="another version"):
        unpack_groups(packed[:-1])
