"""Large pictures in tiles: what a whole picture would give, and bounds that hold."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmenter.masks.boundaries import Guide
from segmenter.masks.tiles import Surface, Tiles

# Of rounding: coefficients of hard pictures are large and cancel.
CLOSE = 2e-5


@dataclass(frozen=True, kw_only=True)
class Scene:
    pixels: NDArray[np.uint8]
    score_map: NDArray[np.float16]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A long picture, so that it is shrunk and yet has few pixels."""
    sides = draw(st.integers(1, 90)), draw(st.integers(1537, 2600))
    size_yx = sides if draw(st.booleans()) else sides[::-1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = rng.integers(0, 256, (9, 9, 3))
    rows, columns = (np.arange(side) * 9 // side for side in size_yx)
    noise = draw(st.sampled_from([1, 12, 200]))
    pixels = blocks[rows][:, columns] + rng.integers(-noise, noise, (*size_yx, 3))
    grid_yx = draw(st.tuples(st.integers(1, 64), st.integers(1, 64)))
    return Scene(
        pixels=pixels.clip(0, 255).astype(np.uint8),
        score_map=rng.random(grid_yx, np.float32).astype(np.float16),
    )


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_tiles_together_are_the_map_at_image_size(scene: Scene) -> None:
    guide = Guide(scene.pixels)
    tiles = Tiles(scene.pixels, guide.small_yx)
    surface = Surface(guide.fit(scene.score_map))
    found = np.full(scene.pixels.shape[:2], np.nan, np.float32)

    for number, values, place in tiles.visit([surface], [np.ones(tiles.shape, bool)]):
        assert number == 0
        assert np.isnan(found[place]).all()
        found[place] = values

    np.testing.assert_allclose(found, guide.follow(scene.score_map), atol=CLOSE)


@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_no_value_of_a_tile_is_beyond_its_bounds(scene: Scene) -> None:
    guide = Guide(scene.pixels)
    tiles = Tiles(scene.pixels, guide.small_yx)
    low, high = tiles.bounds(Surface(guide.fit(scene.score_map)))
    whole = guide.follow(scene.score_map)

    reached = np.zeros(whole.shape, bool)
    for band in range(tiles.shape[0]):
        for column in range(tiles.shape[1]):
            rows = slice(*tiles._tops[band : band + 2])
            columns = slice(*tiles._lefts[column : column + 2])
            inside = whole[rows, columns]
            assert (inside >= low[band, column]).all()
            assert (inside <= high[band, column]).all()
            reached[rows, columns] = True

    assert reached.all()


def test_bounds_are_close_where_map_and_picture_are_smooth() -> None:
    size_yx = (300, 2000)
    ramp = np.linspace(60, 120, size_yx[1])[None, :, None]
    pixels = np.broadcast_to(ramp, (*size_yx, 3)).astype(np.uint8)
    guide = Guide(pixels)
    score_map = np.tile(np.linspace(0, 1, 64, dtype=np.float16), (10, 1))

    low, high = Tiles(pixels, guide.small_yx).bounds(Surface(guide.fit(score_map)))

    # A tile is a 60th of the ramp; bounds of nothing would span all of it.
    assert np.median(high - low) < 0.1


def test_only_wanted_tiles_are_visited_with_each_surface_s_own() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 1700, 3), np.uint8)
    guide = Guide(pixels)
    tiles = Tiles(pixels, guide.small_yx)
    maps = rng.random((2, 6, 32)).astype(np.float16)
    surfaces = [Surface(guide.fit(one)) for one in maps]
    wanted = [np.zeros(tiles.shape, bool) for _ in maps]
    wanted[0][1, 2:4] = wanted[1][1, 3] = wanted[1][2, -1] = True

    visited = [
        (number, place, values.copy())
        for number, values, place in tiles.visit(surfaces, wanted)
    ]

    assert [number for number, _, _ in visited] == [0, 1, 1]
    assert visited[2][1][1].stop == 1700
    for number, place, values in visited:
        whole = guide.follow(maps[number])
        np.testing.assert_allclose(values, whole[place], atol=CLOSE)
