"""What heads change of score maps, and what they leave."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter import Heads, apply_heads, blank_labels, fit_heads
from segmenter.heads.applying import logistic
from segmenter.heads.cells import Cells
from segmenter.layer_grid import WIDTHS, grids, pack_groups
from tests.segmenter.heads.planted import examples, planted


def taught(weight_01: float = 1.0) -> Heads:
    return Heads(
        labels=tuple(
            replace(one, weight_01=weight_01 if one.label == "zork" else 0.0)
            for one in fit_heads(examples()).labels
        )
    )


def test_a_weight_of_nought_leaves_every_bit() -> None:
    maps, _ = planted(50, ("zork", "blim"))

    assert apply_heads(maps, taught(0.0)) is maps


def test_labels_that_are_not_taught_keep_every_bit() -> None:
    maps, _ = planted(50, ("zork", "blim"))

    found = apply_heads(maps, taught())

    assert (found.maps[0] != maps.maps[0]).any()
    assert found.maps[1:].tobytes() == maps.maps[1:].tobytes()
    assert found.presence[1:].tobytes() == maps.presence[1:].tobytes()
    assert found.labels == maps.labels
    assert found.layers is maps.layers


def test_a_label_of_another_name_is_untouched() -> None:
    maps, _ = planted(50, ("zork",))
    other = replace(maps, labels=("a", "b", "c"))

    assert apply_heads(other, taught()) is other


def test_maps_are_mixed_by_the_weight() -> None:
    maps, masks = planted(51, ("zork",))
    inside = masks["zork"][::2, ::2]

    contrast = [
        float(found[inside].mean() - found[~inside].mean())
        for weight in (0.25, 0.5, 1.0)
        for found in [apply_heads(maps, taught(weight)).maps[0].astype(np.float32)]
    ]

    assert contrast == sorted(contrast)
    assert contrast[0] > 0.1


def test_a_taught_label_has_a_map_over_the_whole_range() -> None:
    maps, _ = planted(50, ("zork",))

    found = apply_heads(maps, taught()).maps[0]

    assert (found.dtype, found.min(), found.max()) == (np.float16, 0, 1)


def test_maps_without_layers_are_refused_where_a_head_counts() -> None:
    maps, _ = planted(50, ("zork",))

    with pytest.raises(ValueError, match=r"zork.*score the image again"):
        apply_heads(replace(maps, layers=None), taught())
    assert apply_heads(replace(maps, layers=None), taught(0.0)).layers is None


def test_layers_of_another_version_are_refused() -> None:
    maps, _ = planted(50, ("zork",))
    assert maps.layers is not None

    with pytest.raises(ValueError, match="another version"):
        apply_heads(replace(maps, layers=maps.layers[1:]), taught())


def test_blank_labels_say_nothing_until_they_are_taught() -> None:
    maps, _ = planted(50, ("zork",))
    worded = replace(
        maps, labels=("blim",), maps=maps.maps[1:2], presence=maps.presence[1:2]
    )

    blank = blank_labels(worded, ["zork"])
    found = apply_heads(blank, taught())

    assert blank.labels == ("blim", "zork")
    assert blank.maps[0].tobytes() == maps.maps[1].tobytes()
    assert not blank.maps[1].any()
    assert blank.presence[1] == 0
    assert found.presence[1] > 0.3
    assert found.maps[1].max() == 1


def test_a_label_that_is_there_is_not_appended() -> None:
    maps, _ = planted(50, ())

    with pytest.raises(ValueError, match="zork"):
        blank_labels(maps, ["zork"])


def test_an_image_without_a_worded_label_is_taught_too() -> None:
    maps, _ = planted(50, ("zork",))
    none = replace(
        maps, labels=(), maps=maps.maps[:0], presence=np.zeros(0, np.float32)
    )

    found = apply_heads(blank_labels(none, ["zork"]), taught())

    assert found.presence[0] > 0.3


def test_cells_that_are_alike_agree() -> None:
    # Two halves, each of cells that are all but the same; what is left is chance.
    grid_yx = (20, 30)
    rng = np.random.default_rng(0)
    side = np.where(np.arange(grid_yx[1]) < grid_yx[1] // 2, 1, -1)
    fine, middle, coarse = (
        rng.normal(size=(width, *size)).astype(np.float32) / 20
        for width, size in zip(WIDTHS, grids(grid_yx), strict=True)
    )
    fine += rng.normal(size=(WIDTHS[0], 1, 1)) * side
    middle += rng.normal(size=(WIDTHS[1], 1, 1)) * side[::2]
    maps, _ = planted(50, ())
    maps = replace(maps, layers=pack_groups([fine, middle, coarse]))
    (head,) = (one for one in taught().labels if one.label == "zork")
    direction = np.zeros(sum(WIDTHS))
    direction[: WIDTHS[0]] = rng.normal(size=WIDTHS[0]) / 50
    uneven = replace(head, direction=direction.astype(np.float32), offset=0.0)
    alone = logistic(Cells(maps.layers).scores(uneven.direction[None])[0])

    found = apply_heads(maps, Heads(labels=(uneven,))).maps[0].astype(np.float32)

    def contrast(values: NDArray[np.float32]) -> float:
        inside, outside = np.split(values, [values.shape[1] // 2], axis=1)
        apart = inside.mean() - outside.mean()
        return float(abs(apart) / (inside.std() + outside.std()))

    assert contrast(found) > 2 * contrast(alone)
