"""Features of cells in, how far what is said of one cell holds for the others out.

A walk on a graph whose edges join cells that are near and alike, made doubly
stochastic: a cell of a large object is no more visited than one of a small object
(Sinkhorn's scaling, as for self-attention in M2N2, CVPR 2025). Axis letters:

    D  numbers a cell     v, u  grid of the features     n  its cells, row-major
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32]

# Graphs that are kept, of 5 MB each at most.
_KEPT: Final = 4
# Walks of each that are kept, of 5 kB each.
_WALKS_KEPT: Final = 64
# Similarity falls by a factor of e for each such step of the cosine.
_STEP: Final = 0.05
# Cells that a step of the walk goes, on a grid of 32 x 32.
_REACH_01: Final = 4 / 32
_ROUNDS: Final = 30


class CellGraph:
    """The graph of one image."""

    def __init__(self, features: NDArray[np.float16 | np.float32]) -> None:
        """Take the image's features: (D, v, u)."""
        self.grid_yx: Final = (features.shape[1], features.shape[2])
        flat = features.reshape(len(features), -1).astype(np.float32)
        flat /= np.maximum(np.linalg.norm(flat, axis=0), np.float32(1e-6))
        alike = np.exp((flat.T @ flat - 1) / np.float32(_STEP))
        alike *= _nearness(self.grid_yx)
        scale = np.ones(len(alike), np.float32)
        for _ in range(_ROUNDS):
            scale = np.sqrt(scale / (alike @ scale))
        self._steps: Final[_Floats] = scale[:, None] * alike * scale
        # All clicks are solved anew with each further one.
        self._walks: Final[dict[tuple[float, float, int], _Floats]] = {}

    def spread(self, y_01: float, x_01: float, *, n_steps: int) -> _Floats:
        """Walk from one point: float32 (v, u), 1 at the point, less elsewhere.

        Args:
            y_01: from the top of the image, in [0, 1].
            x_01: from its left.
            n_steps: of the walk; the more, the farther.
        """
        key = (y_01, x_01, n_steps)
        if key not in self._walks:
            if len(self._walks) >= _WALKS_KEPT:
                self._walks.clear()
            seed = _bilinear_seed(y_01, x_01, self.grid_yx)
            visits = self.walk(seed, n_steps)
            self._walks[key] = (visits / (seed @ visits)).reshape(self.grid_yx)
        return self._walks[key]

    def walk(self, start: _Floats, n_steps: int) -> _Floats:
        """Where walkers are after some steps; each step is a mean: float32 (n, ...)."""
        for _ in range(n_steps):
            start = self._steps @ start
        return start


def make_graph(features: NDArray[np.float16]) -> CellGraph:
    """The graph of an image's features: float16 (D, v, u) in."""
    return _graph_of(features.tobytes(), features.shape)


@lru_cache(maxsize=_KEPT)
def _graph_of(data: bytes, shape: tuple[int, ...]) -> CellGraph:
    return CellGraph(np.frombuffer(data, np.float16).reshape(shape))


@lru_cache(maxsize=2)
def _nearness(grid_yx: tuple[int, int]) -> _Floats:
    """A Gaussian of the distance between each two cells: float32 (n, n)."""
    rows, columns = (side.ravel() for side in np.mgrid[: grid_yx[0], : grid_yx[1]])
    reach = _REACH_01 * float(np.sqrt(grid_yx[0] * grid_yx[1]))
    squares = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    return np.asarray(np.exp(squares / (-2 * reach**2)), np.float32)


def _bilinear_seed(y_01: float, x_01: float, grid_yx: tuple[int, int]) -> _Floats:
    """One unit shared out among the four cells around a point: float32 (n,)."""
    weights = [
        np.maximum(0, 1 - np.abs(np.arange(side) + 0.5 - np.clip(at, 0.5, side - 0.5)))
        for side, at in zip(
            grid_yx, (y_01 * grid_yx[0], x_01 * grid_yx[1]), strict=True
        )
    ]
    return np.asarray(np.outer(*weights), np.float32).ravel()
