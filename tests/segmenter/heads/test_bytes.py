"""Examples and heads as bytes: round trips, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segmenter import Example, Heads, fit_heads, make_example
from segmenter.heads.packing import pack, unpack
from tests.segmenter.heads.planted import LABELS, examples, planted


def test_an_example_comes_back_as_it_was() -> None:
    example = examples()[1]

    found = Example.from_bytes(example.to_bytes())

    assert found.labels == LABELS
    for name in ("layers", "step", "words", "covers", "presence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(example, name))
    assert found.shown.tolist() == [True, True, False]


def test_heads_come_back_as_they_were() -> None:
    heads = fit_heads(examples())

    found = Heads.from_bytes(heads.to_bytes())

    assert found.fingerprint == heads.fingerprint
    assert len(found.fingerprint) == 8
    for one, other in zip(found.labels, heads.labels, strict=True):
        assert (one.label, one.n_positive, one.weight_01, one.expected_gain) == (
            other.label,
            other.n_positive,
            other.weight_01,
            other.expected_gain,
        )
        np.testing.assert_array_equal(one.direction, other.direction)
    assert len(heads.to_bytes()) < 4000 * len(heads.labels)


def test_no_heads_are_bytes_too() -> None:
    assert Heads.from_bytes(Heads(labels=()).to_bytes()).labels == ()


@pytest.mark.parametrize("kind", [Example, Heads])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 100, id="noise"),
        pytest.param(b"\x80\x04K\x01.", id="pickle"),
        pytest.param(examples()[0].to_bytes()[:-10], id="cut short"),
        pytest.param(examples()[0].to_bytes() + b"x", id="too long"),
        pytest.param(pack("other", {}, {}), id="another kind"),
        pytest.param(pack("example 1", {"labels": ["a"]}, {}), id="no arrays"),
        pytest.param(pack("heads 1", {"labels": [["a"]]}, {}), id="no heads"),
    ],
)
def test_what_cannot_be_read_is_refused(kind: Any, data: bytes) -> None:
    with pytest.raises(ValueError, match="This"):
        kind.from_bytes(data)


def test_every_flipped_byte_is_noticed() -> None:
    data = fit_heads(examples()).to_bytes()

    for at in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(ValueError, match="heads 1"):
            Heads.from_bytes(bytes(damaged))


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    example = replace(examples()[0], presence=np.zeros(7, np.float32))

    with pytest.raises(ValueError, match="do not fit"):
        Example.from_bytes(example.to_bytes())


def test_what_would_fill_the_memory_is_refused() -> None:
    data = pack("x", {}, {"a": np.zeros(65 << 20, np.uint8)})

    assert len(data) < 200_000
    with pytest.raises(ValueError, match="above"):
        unpack("x", data)


def test_a_mask_of_another_size_or_of_another_label_is_refused() -> None:
    maps, _ = planted(1, ())
    mask = np.ones(maps.size_yx, np.bool_)

    with pytest.raises(ValueError, match=r"zork.*\(60, 40\)"):
        make_example(maps, {"zork": mask.T})
    with pytest.raises(ValueError, match="dog"):
        make_example(maps, {"dog": mask})
    with pytest.raises(ValueError, match="score the image again"):
        make_example(replace(maps, layers=None), {"zork": mask})


def test_an_empty_mask_is_a_label_that_is_not_there() -> None:
    maps, _ = planted(1, ())
    nothing = np.zeros(maps.size_yx, np.bool_)

    example = make_example(maps, {"zork": nothing})

    assert example.to_bytes() == make_example(maps, {}).to_bytes()


def test_a_mask_of_one_pixel_is_not_lost() -> None:
    maps, _ = planted(1, ())
    large = replace(maps, size_yx=(2000, 3000))
    dot = np.zeros(large.size_yx, np.bool_)
    dot[3, 5] = True

    assert make_example(large, {"zork": dot}).shown[0]
