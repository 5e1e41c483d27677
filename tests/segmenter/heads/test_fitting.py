"""What is learnt from which examples."""

from dataclasses import replace

import numpy as np
import pytest

from segmenter import Example, apply_heads, fit_heads, make_example
from tests.segmenter.heads.planted import GRID_YX, LABELS, examples, planted


def test_the_order_of_examples_and_a_repeated_one_change_nothing() -> None:
    first = fit_heads(examples())
    again = fit_heads([*examples()[::-1], examples()[2]])

    assert again.to_bytes() == first.to_bytes()
    assert again.fingerprint == first.fingerprint


def test_examples_that_were_packed_teach_the_same() -> None:
    packed = [Example.from_bytes(one.to_bytes()) for one in examples()]

    assert fit_heads(packed).to_bytes() == fit_heads(examples()).to_bytes()


def test_each_example_changes_the_heads() -> None:
    assert fit_heads(examples()[1:]).fingerprint != fit_heads(examples()).fingerprint


def test_a_taught_label_is_drawn_where_it_is_and_not_where_it_is_not() -> None:
    heads = fit_heads(examples())
    shows, masks = planted(77, ("zork",))
    lacks, _ = planted(78, ())

    found, nothing = apply_heads(shows, heads), apply_heads(lacks, heads)

    assert found.presence[0] > 0.5 > 0.3 > nothing.presence[0]
    drawn = found.maps[0] > 0.46
    truth = masks["zork"][::2, ::2]
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.7


def test_counts_are_of_examples_in_which_a_label_was_looked_for() -> None:
    maps, masks = planted(5, ("zork",))
    narrow = replace(
        maps, labels=("zork",), maps=maps.maps[:1], presence=maps.presence[:1]
    )

    by_name = {
        one.label: one
        for one in fit_heads([*examples(), make_example(narrow, masks)]).labels
    }

    assert [(by_name[n].n_positive, by_name[n].n_negative) for n in LABELS] == [
        (5, 4),
        (2, 6),
        (0, 8),
    ]


def test_a_label_that_no_example_shows_is_left_to_its_words() -> None:
    (never,) = (one for one in fit_heads(examples()).labels if one.label == "never")

    assert never.weight_01 == 0
    assert never.expected_gain == 0


def test_words_that_are_right_already_are_left_alone() -> None:
    known = []
    for number in range(8):
        maps, masks = planted(number, ("zork",) if number % 2 else ())
        truth = masks.get("zork", np.zeros(maps.size_yx, np.bool_))[::2, ::2]
        right = np.stack([truth.astype(np.float16), *maps.maps[1:]])
        presence = np.array([0.95 if number % 2 else 0.02, 0.01, 0.01], np.float32)
        known.append(make_example(replace(maps, maps=right, presence=presence), masks))

    (zork,) = (one for one in fit_heads(known).labels if one.label == "zork")

    assert zork.n_positive == 4
    assert zork.weight_01 == 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_examples_teach_nothing(count: int) -> None:
    heads = fit_heads(examples()[:count])
    maps, _ = planted(9, ("zork",))

    assert all(one.weight_01 == 0 for one in heads.labels)
    assert apply_heads(maps, heads) is maps


def test_layers_that_are_no_numbers_or_constant_spoil_no_fit() -> None:
    maps, masks = planted(20, ("zork",))
    assert maps.layers is not None
    broken = maps.layers.copy()
    broken[0, 0, 0], broken[1, 0, 0] = np.nan, np.inf
    odd = [
        make_example(replace(maps, layers=broken), masks),
        make_example(replace(maps, layers=np.ones_like(broken)), masks),
        make_example(replace(maps, layers=np.zeros_like(broken)), masks),
    ]

    heads = fit_heads([*examples(), *odd])
    found = apply_heads(replace(maps, layers=broken), heads)

    assert all(np.isfinite(one.direction).all() for one in heads.labels)
    assert np.isfinite(found.maps).all()
    assert np.isfinite(found.presence).all()


def test_images_of_other_shapes_are_learnt_from_together() -> None:
    tall = [
        make_example(*planted(number, ("zork",), grid_yx=(20, 5)))
        for number in range(30, 33)
    ]

    heads = fit_heads([*examples(), *tall])

    (zork,) = (one for one in heads.labels if one.label == "zork")
    assert zork.weight_01 > 0
    assert GRID_YX[0] < GRID_YX[1]


def weight_of_zork(n_images: int, *, found: bool) -> float:
    """After five images that show it, whose words find it but not where, and others."""
    taught = []
    for number in range(n_images):
        maps, masks = planted(number, ("zork",) if number < 5 else ())
        presence = maps.presence.copy()
        presence[0] = 0.9 if found and number < 5 else 0.01
        taught.append(make_example(replace(maps, presence=presence), masks))
    (zork,) = (one for one in fit_heads(taught).labels if one.label == "zork")
    return zork.weight_01


def test_a_label_that_words_find_waits_for_more_images() -> None:
    assert weight_of_zork(8, found=False) > 0
    assert weight_of_zork(8, found=True) == 0
    assert weight_of_zork(16, found=True) > 0
