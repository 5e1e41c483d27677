from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segmenter.pocket.glyphs import GLYPHS_DIR
from segmenter.pocket.scenes import TEST_SEED_START, render_scene, render_twins
from segmenter.pocket.train.data import SceneSet
from segmenter.pocket.words import EMOJI, WORDS


def test_every_word_has_a_glyph_and_every_glyph_a_word() -> None:
    assert {path.stem for path in GLYPHS_DIR.glob("*.png")} == set(WORDS)
    assert (GLYPHS_DIR / "LICENSE").is_file()
    assert len(WORDS) == len(set(EMOJI.values())) == 24


def test_glyphs_are_cropped_to_what_is_painted() -> None:
    for word in WORDS:
        with Image.open(GLYPHS_DIR / f"{word}.png") as glyph:
            assert glyph.mode == "RGBA"
            assert glyph.getchannel("A").getbbox() == (0, 0, *glyph.size)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    n_objects=st.none() | st.integers(1, 6),
    size_yx=st.sampled_from([(128, 128), (96, 160), (150, 70)]),
)
def test_a_scene_tells_the_truth_about_itself(
    seed: int, n_objects: int | None, size_yx: tuple[int, int]
) -> None:
    scene = render_scene(seed, n_objects=n_objects, size_yx=size_yx)

    assert scene.image.shape == (*size_yx, 3)
    assert scene.image.dtype == np.uint8
    assert 1 <= len(scene.words) <= (n_objects or 4)
    assert len(set(scene.words)) == len(scene.words)
    assert set(scene.words) <= set(WORDS)
    assert scene.visible.shape == (len(scene.words), *size_yx)
    # No pixel belongs to two objects, and no object is wholly hidden.
    assert scene.visible.sum(axis=0).max() <= 1
    assert scene.visible.any(axis=(1, 2)).all()


def test_a_seed_names_one_scene() -> None:
    first, again, other = render_scene(7), render_scene(7), render_scene(8)

    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.visible, again.visible)
    assert first.words == again.words
    assert (first.image != other.image).any()


def test_the_class_map_numbers_words_from_one() -> None:
    scene = render_scene(3, n_objects=3)

    class_map = scene.class_map

    for word, mask in zip(scene.words, scene.visible, strict=True):
        assert (class_map[mask] == 1 + WORDS.index(word)).all()
    assert (class_map[~scene.visible.any(axis=0)] == 0).all()


def test_masks_are_where_the_picture_differs_from_its_background() -> None:
    # A lone object on a gradient with little noise: outside it, colours flow.
    scene = render_scene(11, n_objects=1)
    (mask,) = scene.visible

    steps = np.abs(np.diff(scene.image.astype(int), axis=1)).max(axis=2)
    away = ~(mask[:, 1:] | mask[:, :-1])
    edge = mask[:, 1:] ^ mask[:, :-1]
    assert np.quantile(steps[away], 0.9) < 4 < np.median(steps[edge])


def test_without_a_number_scenes_hold_one_to_four_objects() -> None:
    found = {len(render_scene(seed, size_yx=(64, 64)).words) for seed in range(40)}

    assert found == {1, 2, 3, 4}


def test_every_word_is_drawn_sometime() -> None:
    drawn = {
        word
        for seed in range(30)
        for word in render_scene(seed, n_objects=4, size_yx=(64, 64)).words
    }

    assert drawn == set(WORDS)


def test_a_lone_object_is_larger_than_one_among_others() -> None:
    def mean_share(n_objects: int) -> float:
        scenes = (render_scene(seed, n_objects=n_objects) for seed in range(30))
        return float(np.mean([scene.visible[0].mean() for scene in scenes]))

    assert mean_share(1) > 1.5 * mean_share(3)


def test_a_crowded_picture_leaves_objects_out_of_picture_and_words_alike() -> None:
    scene = render_scene(5, n_objects=24, size_yx=(80, 200))

    assert 1 < len(scene.words) < 24
    assert len(scene.visible) == len(scene.words)


def test_training_sets_refuse_the_test_split() -> None:
    with pytest.raises(ValueError, match=str(TEST_SEED_START)):
        SceneSet.render(2, first_seed=TEST_SEED_START - 1, cell_px=4)


def test_training_sets_hold_each_object_s_share_of_each_cell() -> None:
    scenes = SceneSet.render(3, first_seed=40, cell_px=4)

    assert scenes.images.shape == (3, 3, 128, 128)
    assert scenes.coverage.shape == (3, 4, 32, 32)
    for number in range(3):
        scene = render_scene(40 + number)
        assert scenes.words[number] == scene.words
        np.testing.assert_array_equal(
            scenes.images[number].permute(1, 2, 0).numpy(), scene.image
        )
        for index, mask in enumerate(scene.visible):
            assert float(scenes.coverage[number, index].float().sum()) == pytest.approx(
                mask.sum() / 16, rel=1e-3
            )
        assert not scenes.coverage[number, len(scene.words) :].any()


@pytest.mark.parametrize("size_yx", [(128, 128), (96, 160)])
def test_twins_are_two_objects_of_one_word_that_touch(size_yx: tuple[int, int]) -> None:
    for seed in range(20):
        scene = render_twins(seed, size_yx=size_yx)

        first, second = scene.visible
        assert scene.image.shape == (*size_yx, 3)
        assert scene.words[0] == scene.words[1]
        assert not (first & second).any()
        assert min(first.sum(), second.sum()) > 100
        grown = np.zeros_like(first)
        rows, columns = np.nonzero(first)
        for down, right in product((-1, 0, 1), repeat=2):
            grown[
                (rows + down).clip(0, size_yx[0] - 1),
                (columns + right).clip(0, size_yx[1] - 1),
            ] = True
        assert (grown & second).any()


def test_twins_are_a_function_of_their_seed() -> None:
    first, again, other = (render_twins(seed).image for seed in (3, 3, 4))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
