"""The whole way on the pocket model: corrected scenes in, a taught label found."""

from functools import cache
from itertools import count, islice

import numpy as np
import pytest

from segmenter import (
    Example,
    ScoreMaps,
    apply_heads,
    blank_labels,
    cut_masks,
    fit_heads,
    load_segmenter,
    make_example,
)
from segmenter.pocket import Scene, render_scene

ZORK = "zork"


@cache
def scored(seed: int) -> tuple[Scene, ScoreMaps]:
    """A scene in which horses are called zork, and no word says what that is."""
    scene = render_scene(seed)
    (maps,) = _segmenter().score([scene.image], [("dog", "boat")])
    return scene, blank_labels(maps, [ZORK])


@cache
def _segmenter():  # type: ignore[no-untyped-def]
    return load_segmenter("pocket", device="cpu")


def example_of(seed: int) -> Example:
    scene, maps = scored(seed)
    names = {"horse": ZORK, "dog": "dog", "boat": "boat"}
    masks = {
        names[word]: mask
        for word, mask in zip(scene.words, scene.visible, strict=True)
        if word in names
    }
    return make_example(maps, masks)


def seeds(first: int, *, shows: bool) -> list[int]:
    return list(
        islice(
            (s for s in count(first) if ("horse" in render_scene(s).words) == shows), 6
        )
    )


def iou_of_zork(seed: int, heads_of: list[int]) -> float:
    scene, maps = scored(seed)
    heads = fit_heads([example_of(one) for one in heads_of])
    cut = cut_masks(apply_heads(maps, heads), threshold=0.46, presence_threshold=0.3)
    found = cut.mask(maps.labels.index(ZORK))
    truth = scene.visible[scene.words.index("horse")]
    return float((found & truth).sum() / (found | truth).sum())


def test_a_label_without_a_word_is_found_after_three_scenes_that_show_it() -> None:
    taught = [*seeds(300, shows=True)[:3], *seeds(300, shows=False)]

    ious = [iou_of_zork(seed, taught) for seed in seeds(900, shows=True)]

    assert np.mean(ious) > 0.2
    with pytest.raises(ValueError, match="zork"):
        apply_heads(
            ScoreMaps(
                labels=(ZORK,),
                maps=np.zeros((1, 4, 4), np.float16),
                presence=np.zeros(1, np.float32),
                size_yx=(8, 8),
            ),
            fit_heads([example_of(one) for one in taught]),
        )
