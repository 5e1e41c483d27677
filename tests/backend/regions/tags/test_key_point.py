import numpy as np
import pytest

from backend.regions.components import parts
from backend.regions.tags.key_point import TAG
from backend.types import CutOptions

CUT = CutOptions(threshold_01=0.5)


def mask_of(rows: list[str]) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows])


@pytest.mark.parametrize(
    ("rows", "at"),
    [
        pytest.param(["....", ".###", ".###", ".###"], (62.5, 62.5), id="middle"),
        pytest.param(["####", "####", "####", "#..."], (37.5, 37.5), id="thickest"),
        pytest.param(["#....", "#####"], (10, 25), id="corner"),
    ],
)
def test_a_key_point_is_the_innermost_pixel_of_its_part(
    rows: list[str], at: tuple[float, float]
) -> None:
    mask = mask_of(rows)
    (part,) = parts(mask)

    value = TAG.encode(part, mask.shape, CUT)

    column, row = (value["x"] / 100 * mask.shape[1], value["y"] / 100 * mask.shape[0])
    assert mask[int(row), int(column)]
    assert (value["x"], value["y"]) == pytest.approx(at)
    assert value["width"] > 0


def test_a_key_point_is_of_one_part() -> None:
    with pytest.raises(ValueError, match="one part, not a mask"):
        TAG.encode(np.ones((2, 2), bool), (2, 2), CUT)
