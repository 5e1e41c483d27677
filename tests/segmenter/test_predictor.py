import re
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmenter import BadImage, BadLabel, SegmenterOptions, cut_masks
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from segmenter.presence import Captioner, ImageText
from segmenter.presence.captions import continue_texts
from segmenter.presence.scorer import embed_image, embed_texts
from tests.segmenter.asking import LABELS, calls_of, score_one
from tests.segmenter.tiny_models import LATENT_SIDE, THREE_LEVELS, make_parts

PAPER = SegmenterOptions(mode="paper")
BARE = SegmenterOptions(mode="paper", caption=False)
FAST = SegmenterOptions(presence="off")
# Maps travel in half precision, which tells 0.9990 from 0.9995 and no finer.
HALF = 6e-4


@pytest.fixture
def segmenter(parts: UNetBackbone) -> Segmenter:
    return Segmenter(parts, BARE)


def test_score_gives_one_map_per_label_at_latent_resolution(
    segmenter: Segmenter, picture: NDArray[np.uint8]
) -> None:
    (found,) = segmenter.score([picture], [LABELS])

    assert found.labels == LABELS
    assert found.maps.shape == (5, LATENT_SIDE, LATENT_SIDE)
    assert found.maps.dtype == np.float16
    assert found.size_yx == (48, 72)
    np.testing.assert_array_equal(found.presence, np.ones(5, np.float32))
    np.testing.assert_array_equal(found.maps.min(axis=(1, 2)), np.zeros(5))
    np.testing.assert_array_equal(found.maps.max(axis=(1, 2)), np.ones(5))


def test_labels_have_maps_of_their_own(
    segmenter: Segmenter, picture: NDArray[np.uint8]
) -> None:
    maps = score_one(segmenter, picture).astype(np.float32)

    for first in range(5):
        for second in range(first):
            assert np.abs(maps[first] - maps[second]).max() > 10 * HALF


def test_pictures_have_maps_of_their_own(
    segmenter: Segmenter, picture: NDArray[np.uint8]
) -> None:
    other = np.ascontiguousarray(picture[:, ::-1])

    found = segmenter.score([picture, other], [["cat"], ["cat"]])

    assert not np.allclose(found[0].maps, found[1].maps, atol=10 * HALF)


def test_segment_is_score_and_cut_at_the_options_threshold(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, replace(BARE, threshold=0.7))

    (found,) = segmenter.segment([picture], [LABELS])

    (maps,) = segmenter.score([picture], [LABELS])
    expected = cut_masks(maps, threshold=0.7)
    np.testing.assert_array_equal(found.label_map, expected.label_map)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.label_map.shape == (48, 72)


def test_images_of_several_sizes_keep_their_order(
    segmenter: Segmenter, picture: NDArray[np.uint8]
) -> None:
    images = [picture, picture[:20, :11], np.zeros((1, 1, 3), np.uint8)]

    found = segmenter.segment(images, [["cat"], ["dog", "sofa"], ["cat"]])

    assert [one.label_map.shape for one in found] == [(48, 72), (20, 11), (1, 1)]
    assert [one.labels for one in found] == [("cat",), ("dog", "sofa"), ("cat",)]


@pytest.mark.parametrize("captioned", [False, True])
def test_labels_per_pass_changes_memory_and_no_map(
    parts: UNetBackbone,
    captioner: Captioner,
    picture: NDArray[np.uint8],
    captioned: bool,
) -> None:
    options = SegmenterOptions(mode="paper", caption=captioned)

    def run(labels_per_pass: int) -> tuple[NDArray[np.float16], list[int]]:
        segmenter = Segmenter(
            parts,
            replace(options, labels_per_pass=labels_per_pass),
            captioner=lambda: captioner,
        )
        with calls_of(parts.unet) as sizes:
            return score_one(segmenter, picture), sizes

    one_by_one, singles = run(1)
    by_four, batches = run(4)

    assert singles == [1, 1, 1, 1, 1]
    assert batches == [4, 1]
    np.testing.assert_allclose(by_four, one_by_one, atol=HALF)


def test_a_label_asked_for_twice_is_run_once_and_answered_twice(
    segmenter: Segmenter, parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    with calls_of(parts.unet) as sizes:
        maps = score_one(segmenter, picture, ("cat", "dog", "cat"))

    assert sum(sizes) == 2
    np.testing.assert_array_equal(maps[0], maps[2])
    alone = score_one(segmenter, picture, ("dog",))
    np.testing.assert_allclose(maps[1], alone[0], atol=HALF)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(FAST, id="fast"),
        pytest.param(replace(FAST, max_windows=4), id="windows"),
        pytest.param(replace(BARE, aspect="keep"), id="paper"),
    ],
)
def test_the_pass_that_makes_maps_gives_features_for_clicks(
    parts: UNetBackbone,
    picture: NDArray[np.uint8],
    options: SegmenterOptions,
) -> None:
    segmenter = Segmenter(parts, options)

    wide = np.concatenate([picture, picture], axis=1)

    (found,) = segmenter.score([wide], [("dog", "cat", "dog")])
    (nothing,) = segmenter.score([wide], [()])

    assert nothing.features is None
    assert found.features is not None
    assert found.features.dtype == np.float16
    assert found.features.nbytes <= 250_000
    rows, columns = found.features.shape[1:]
    assert columns > 2 * rows
    lengths = np.linalg.norm(found.features.astype(np.float32), axis=0)
    np.testing.assert_allclose(lengths, np.ones_like(lengths), atol=0.1)
    for layers in (found.layers, nothing.layers):
        assert layers is not None
        assert layers.dtype == np.float16
        assert layers.nbytes <= 500_000
        assert layers.shape[1:] == (rows, columns)
        assert np.isfinite(layers).all()


def test_features_cost_no_pass(parts: UNetBackbone, picture: NDArray[np.uint8]) -> None:
    with calls_of(parts.unet) as passes:
        (found,) = Segmenter(parts, FAST).score([picture], [LABELS])

    assert found.features is not None
    assert found.layers is not None
    # One pass; the other lists the layers on the smallest latent, if it is the first.
    assert len(passes) <= 2


def test_no_labels_give_no_maps_and_one_pass_for_what_is_taught(
    segmenter: Segmenter, parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    with calls_of(parts.unet) as sizes:
        (scored,) = segmenter.score([picture], [[]])
    (cut,) = segmenter.segment([picture], [[]])

    assert sizes == [1]
    assert scored.layers is not None
    assert scored.maps.shape == (0, LATENT_SIDE, LATENT_SIDE)
    assert (cut.label_map == -1).all()


def test_no_images_give_no_answers(segmenter: Segmenter) -> None:
    assert segmenter.segment([], []) == []


def test_images_and_labels_of_different_numbers_are_refused(
    segmenter: Segmenter, picture: NDArray[np.uint8]
) -> None:
    with pytest.raises(ValueError, match="shorter"):
        segmenter.score([picture, picture], [["cat"]])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param(np.zeros((4, 4, 3)), "float64", id="float"),
        pytest.param(np.zeros((4, 4), np.uint8), r"\(4, 4\)", id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)", id="alpha"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)", id="empty"),
        pytest.param(np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)", id="batch"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_before_any_work(
    segmenter: Segmenter,
    parts: UNetBackbone,
    picture: NDArray[np.uint8],
    image: NDArray[Any],
    said: str,
) -> None:
    with calls_of(parts.unet) as sizes, pytest.raises(BadImage, match=said):
        segmenter.segment([picture, image], [["cat"], ["cat"]])

    assert sizes == []


@pytest.mark.parametrize("label", ["", "  ", "\x00"])
def test_a_label_without_text_is_refused_before_any_work(
    segmenter: Segmenter,
    parts: UNetBackbone,
    picture: NDArray[np.uint8],
    label: str,
) -> None:
    with calls_of(parts.unet) as sizes, pytest.raises(BadLabel):
        segmenter.segment([picture, picture], [["cat"], ["dog", label]])

    assert sizes == []


@pytest.mark.parametrize(
    "label", ["🐈", "猫", "x" * 300, "{}", "{label}", "{0.real}", "%s", "<|endoftext|>"]
)
def test_any_other_label_is_answered_with_and_without_captions(
    parts: UNetBackbone,
    captioner: Captioner,
    image_text: ImageText,
    picture: NDArray[np.uint8],
    label: str,
) -> None:
    options = SegmenterOptions(mode="paper", presence="paper")
    full = Segmenter(
        parts, options, captioner=lambda: captioner, image_text=lambda: image_text
    )

    for segmenter in (Segmenter(parts, BARE), full):
        (found,) = segmenter.segment([picture], [[label]])

        assert found.labels == (label,)
        assert np.isfinite(found.scores).all()


def test_a_template_with_other_braces_is_taken_literally(
    parts: UNetBackbone, captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    options = SegmenterOptions(mode="paper", template="a {nice} photo of {label}, {}")

    (found,) = Segmenter(parts, options, captioner=lambda: captioner).segment(
        [picture], [["cat"]]
    )

    assert found.labels == ("cat",)


def test_the_same_seed_gives_the_same_maps_and_another_seed_others(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    def run(seed: int) -> NDArray[np.float16]:
        torch.manual_seed(seed + 77)
        return score_one(Segmenter(parts, replace(BARE, seed=seed)), picture)

    first = run(0)

    np.testing.assert_array_equal(run(0), first)
    assert not np.allclose(run(1), first, atol=10 * HALF)


def test_a_sampled_latent_differs_from_the_mean_and_repeats(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    sampling = Segmenter(parts, replace(BARE, latent="sample"))

    first = score_one(sampling, picture)

    np.testing.assert_array_equal(score_one(sampling, picture), first)
    mean = score_one(Segmenter(parts, BARE), picture)
    assert not np.array_equal(first, mean)


@pytest.mark.parametrize(
    "change",
    [
        {"timestep": 600},
        {"template": "cat {label}"},
        {"emphasis": 3.0},
        {"level_weights": (1.0, 0.0, 0.0, 0.0)},
        {"self_attention_products": 0},
        {"self_attention_products": 2},
    ],
    ids=str,
)
def test_an_option_reaches_the_maps(
    parts: UNetBackbone, picture: NDArray[np.uint8], change: dict[str, Any]
) -> None:
    default = score_one(Segmenter(parts, BARE), picture)

    other = score_one(Segmenter(parts, replace(BARE, **change)), picture)

    assert not np.allclose(other, default, atol=HALF)


def test_captions_reach_the_maps(
    parts: UNetBackbone, captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    bare = score_one(Segmenter(parts, BARE), picture)

    captioned = Segmenter(parts, PAPER, captioner=lambda: captioner)

    assert not np.allclose(score_one(captioned, picture), bare, atol=HALF)


def test_a_unet_of_three_levels_is_read_alike(picture: NDArray[np.uint8]) -> None:
    segmenter = Segmenter(make_parts(THREE_LEVELS), BARE)

    maps = score_one(segmenter, picture)

    assert maps.shape == (5, LATENT_SIDE, LATENT_SIDE)


def test_options_that_need_a_part_that_is_not_given_are_refused(
    parts: UNetBackbone, captioner: Captioner
) -> None:
    with pytest.raises(ValueError, match="caption=False"):
        Segmenter(parts, PAPER)
    with pytest.raises(ValueError, match="presence='off'"):
        Segmenter(parts, replace(BARE, presence="paper"))
    with pytest.raises(ValueError, match="image-text model"):
        Segmenter(parts, replace(PAPER, presence="paper"), captioner=lambda: captioner)


def test_two_threads_get_what_one_gets(
    segmenter: Segmenter, parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    pictures = [picture, np.ascontiguousarray(picture[::-1])]
    alone = [score_one(segmenter, one) for one in pictures]
    before = dict(parts.unet.attn_processors)
    found: dict[int, list[NDArray[np.float16]]] = {0: [], 1: []}
    start = threading.Barrier(2)

    def work(number: int) -> None:
        start.wait(timeout=10)
        for _ in range(3):
            found[number].append(score_one(segmenter, pictures[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    for number in (0, 1):
        assert len(found[number]) == 3
        for maps in found[number]:
            np.testing.assert_array_equal(maps, alone[number])
    assert parts.unet.attn_processors == before


def test_a_failing_forward_leaves_the_segmenter_usable(
    segmenter: Segmenter, parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    expected = score_one(segmenter, picture)

    def fail(module: Any, args: Any) -> None:
        raise MemoryError

    handle = parts.unet.mid_block.register_forward_pre_hook(fail)
    try:
        with pytest.raises(MemoryError):
            score_one(segmenter, picture)
    finally:
        handle.remove()

    np.testing.assert_array_equal(score_one(segmenter, picture), expected)


def test_the_presence_filter_keeps_the_union_of_its_sources_and_runs_no_other(
    parts: UNetBackbone,
    captioner: Captioner,
    image_text: ImageText,
    picture: NDArray[np.uint8],
) -> None:
    # The random BLIP says what it likes; a word of it is one of the labels.
    (caption,) = continue_texts(captioner, picture, [""])
    spoken = re.findall(r"\w+", caption)[0]
    labels = ("cat", "dog", "sofa", "train", spoken)
    by_image = embed_texts(image_text, labels) @ embed_image(image_text, picture)
    best = labels[int(by_image.argmax())]
    options = SegmenterOptions(
        mode="paper", presence="paper", image_similarity=1.0, text_similarity=1.0
    )
    segmenter = Segmenter(
        parts, options, captioner=lambda: captioner, image_text=lambda: image_text
    )

    with calls_of(parts.unet) as sizes:
        (found,) = segmenter.score([picture], [labels])

    kept = {labels[i] for i in np.flatnonzero(found.presence >= 0.5)}
    assert kept == {best, spoken}
    assert sum(sizes) == len(kept) < len(set(labels))
    for label, maps in zip(labels, found.maps, strict=True):
        assert (maps.max() == 1) == (label in kept)
    cut = cut_masks(found, threshold=0.1)
    assert {labels[i] for i in np.unique(cut.label_map) if i >= 0} <= kept


def test_options_are_kept_prepared_while_they_are_among_the_last_four_used(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, BARE)
    others = [replace(BARE, seed=seed) for seed in range(1, 8)]

    for options in others:
        segmenter.score([picture], [[]], options=options)
        segmenter.score([picture], [[]], options=BARE)

    assert list(segmenter._prepared) == [*others[-3:], BARE]


def test_a_threshold_of_nought_draws_what_the_paper_s_filter_leaves_out(
    parts: UNetBackbone,
    captioner: Captioner,
    image_text: ImageText,
    picture: NDArray[np.uint8],
) -> None:
    labels = ("cat", "dog", "sofa", "train")
    # At 1 the filter keeps the best label alone, and what the caption names.
    options = SegmenterOptions(
        presence="paper", image_similarity=1.0, text_similarity=1.0, boundaries="off"
    )
    segmenter = Segmenter(
        parts, options, captioner=lambda: captioner, image_text=lambda: image_text
    )

    (found,) = segmenter.score([picture], [labels])

    out = np.flatnonzero(found.presence < 0.5)
    kept = np.flatnonzero(found.presence >= 0.5)
    assert len(out)
    assert (found.maps.max(axis=(1, 2)) == 1).all()
    every = cut_masks(found, threshold=0.05, presence_threshold=0.0)
    assert np.isin(np.unique(every.label_map), out).any()
    # What the filter keeps is drawn as if the others had not been asked for.
    emptied = np.where(np.isin(range(len(labels)), kept)[:, None, None], found.maps, 0)
    np.testing.assert_array_equal(
        cut_masks(found, threshold=0.3).label_map,
        cut_masks(replace(found, maps=emptied), threshold=0.3).label_map,
    )


@pytest.mark.parametrize("options", [FAST, BARE], ids=["fast", "paper"])
def test_maps_are_the_same_without_what_clicks_and_heads_need(
    options: SegmenterOptions, parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, options)

    (bare,) = segmenter.score([picture], [LABELS], reads_cells=False)
    (whole,) = segmenter.score([picture], [LABELS])
    with calls_of(parts.unet) as passes:
        (nothing,) = segmenter.score([picture], [()], reads_cells=False)

    assert bare.features is bare.layers is None
    np.testing.assert_array_equal(bare.maps, whole.maps)
    assert nothing.maps.shape == (0, *whole.maps.shape[1:])
    assert passes == []
