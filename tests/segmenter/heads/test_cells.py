"""Sums and products without enlarging, against the same with."""

import numpy as np

from segmenter.heads.cells import Cells
from segmenter.layer_grid import TOTAL_WIDTH, enlargements, unpack_groups
from tests.segmenter.heads.planted import planted


def test_sums_products_and_scores_are_those_of_enlarged_groups() -> None:
    maps, _ = planted(3, ("zork",), grid_yx=(7, 10))
    assert maps.layers is not None
    cells = Cells(maps.layers)
    large = np.concatenate(
        [
            group @ enlarge.T
            for group, enlarge in zip(
                unpack_groups(maps.layers), enlargements((7, 10)), strict=True
            )
        ]
    )
    weights = np.random.default_rng(0).random((2, 70)).astype(np.float32)
    directions = np.random.default_rng(1).random((2, TOTAL_WIDTH)).astype(np.float32)

    assert cells.count == 70
    np.testing.assert_allclose(cells.sums(weights), weights @ large.T, atol=1e-3)
    np.testing.assert_allclose(cells.products(), large @ large.T, atol=1e-2)
    np.testing.assert_allclose(
        cells.scores(directions).reshape(2, -1), directions @ large, atol=1e-3
    )
