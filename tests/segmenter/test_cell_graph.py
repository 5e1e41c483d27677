import numpy as np
import pytest

from segmenter.cell_graph import CellGraph, make_graph
from tests.segmenter.clicks.scenes import GRID_YX, known


@pytest.fixture
def graph() -> CellGraph:
    features = known().maps.features
    assert features is not None
    return CellGraph(features)


def test_a_walk_stays_in_the_object_that_it_starts_in(graph: CellGraph) -> None:
    walk = graph.spread(0.5, 0.25, n_steps=8)

    assert walk.shape == GRID_YX
    assert walk[7, 6] > 0.8
    assert walk[5, 8] > 0.3
    assert walk[:, 12:].max() < 0.05
    assert walk[0].max() < 0.2


def test_a_walk_is_worth_one_where_it_starts(graph: CellGraph) -> None:
    # The centre of a cell, where nothing is shared with others.
    walk = graph.spread(7.5 / GRID_YX[0], 6.5 / GRID_YX[1], n_steps=5)

    assert walk[7, 6] == pytest.approx(1, abs=1e-5)
    assert walk.min() >= 0


def test_more_steps_go_farther(graph: CellGraph) -> None:
    near, far = (graph.spread(0.5, 0.25, n_steps=n) for n in (1, 24))

    assert far[4, 9] > near[4, 9]


def test_each_step_is_a_mean_and_no_cell_is_visited_more_than_others(
    graph: CellGraph,
) -> None:
    everywhere = np.ones(GRID_YX[0] * GRID_YX[1], np.float32)

    np.testing.assert_allclose(graph.walk(everywhere, 3), everywhere, atol=0.01)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_walk_may_start_in_a_corner(graph: CellGraph, y: float, x: float) -> None:
    walk = graph.spread(y, x, n_steps=2)

    assert np.isfinite(walk).all()
    assert walk.argmax() == (GRID_YX[0] * y - (y > 0)) * GRID_YX[1] + (
        GRID_YX[1] * x - (x > 0)
    )


def test_features_without_direction_give_a_graph_of_places() -> None:
    walk = make_graph(np.zeros((3, 4, 6), np.float16)).spread(0.5, 0.5, n_steps=2)

    assert np.isfinite(walk).all()


def test_the_graph_of_the_same_features_is_made_once() -> None:
    features = known().maps.features
    assert features is not None

    assert make_graph(features) is make_graph(features.copy())
