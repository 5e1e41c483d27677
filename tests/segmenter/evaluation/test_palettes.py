"""Which palettes have numbers that are no classes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter.evaluation.palettes import PaletteCheck

# As VOC's own files have them.
BACKGROUND, AEROPLANE, BICYCLE, PERSON, OUTLINE = (
    (0, 0, 0),
    (128, 0, 0),
    (0, 128, 0),
    (192, 128, 128),
    (224, 224, 192),
)
VOC = {0: BACKGROUND, 1: AEROPLANE, 2: BICYCLE, 15: PERSON, 255: OUTLINE}


def palette(colours: dict[int, tuple[int, int, int]]) -> NDArray[np.uint8]:
    made = np.zeros((256, 3), np.uint8)
    for number, colour in colours.items():
        made[number] = colour
    return made


def test_voc_s_own_palette_is_right() -> None:
    check = PaletteCheck(is_voc=True)

    assert check.problem("a", [0, 1, 15], palette(VOC)) == ""
    assert check.problem("b", [0, 2], palette(VOC)) == ""


@pytest.mark.parametrize(
    ("colours", "told"),
    [
        ({0: BACKGROUND, 1: PERSON}, "the number 1 in VOC's colour of 15"),
        ({0: PERSON, 1: BACKGROUND}, "the number 0 in VOC's colour of 15"),
        ({0: BACKGROUND, 1: AEROPLANE, 2: OUTLINE}, "2 in VOC's colour of 255"),
    ],
)
def test_voc_s_colours_under_other_numbers_are_told(
    colours: dict[int, tuple[int, int, int]], told: str
) -> None:
    problem = PaletteCheck(is_voc=True).problem("a", list(colours), palette(colours))

    assert told in problem
    assert "numbered anew. Save the truths as 8-bit grey" in problem


@pytest.mark.parametrize(
    ("is_voc", "colours"),
    [
        pytest.param(False, {0: BACKGROUND, 1: PERSON}, id="another-data-set"),
        pytest.param(True, {0: BACKGROUND, 1: (255, 0, 0)}, id="other-colours"),
        pytest.param(
            True, {0: BACKGROUND, 1: PERSON, 2: (255, 0, 0)}, id="some-other-colours"
        ),
        pytest.param(True, {n: (n, n, n) for n in range(3)}, id="shades-of-grey"),
    ],
)
def test_palettes_of_other_colours_may_number_them(
    is_voc: bool, colours: dict[int, tuple[int, int, int]]
) -> None:
    check = PaletteCheck(is_voc=is_voc)

    assert check.problem("a", list(colours), palette(colours)) == ""


def test_a_number_of_two_colours_is_told_with_both_pictures() -> None:
    check = PaletteCheck(is_voc=False)
    check.problem("a", [0, 1], palette({1: (255, 0, 0)}))

    problem = check.problem("b", [1], palette({1: (0, 255, 0)}))

    assert problem.startswith(
        "The number 1 is (0, 255, 0) in the palette of b and (255, 0, 0) in that of a: "
        "the palettes are each picture's own."
    )


def test_colours_of_numbers_that_do_not_occur_say_nothing() -> None:
    check = PaletteCheck(is_voc=False)
    check.problem("a", [0], palette({1: (255, 0, 0)}))

    assert check.problem("b", [0, 1], palette({1: (0, 255, 0)})) == ""
