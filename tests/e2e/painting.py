"""Does the editor show what is stored? Asserts on the colours of the screen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.e2e.browser import Browser
from tests.e2e.masks import paint_opacity_01

# How strongly the editor paints; 1 would hide the picture.
MASK_OPACITY_01: Final = (0.2, 0.95)
OUTLINE_OPACITY_01: Final = (0.1, 0.4)
# Grey levels that JPEG and the browser's scaling may cost inside and outside.
_COLOUR_TOLERANCE: Final = 12
# Share of the unpainted pixels that the editor's own tool bar may cover.
_TOOL_BAR_01: Final = 0.1
_LEAST_PX: Final = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Paint:
    """What one label must look like.

    Attributes:
        colour: the label's, RGB.
        where: bool (Y, X), pixels that this label alone covers, its edge not among
            them.
        opacity_01: least and most that `colour` may hide of the picture.
    """

    colour: tuple[int, int, int]
    where: NDArray[np.bool_]
    opacity_01: tuple[float, float] = MASK_OPACITY_01

    def problem(
        self, shown: NDArray[np.uint8], picture: NDArray[np.uint8]
    ) -> str | None:
        """What is wrong with a screen; None when it looks as it must."""
        if self.where.sum() < _LEAST_PX:
            return f"hardly any pixel is painted: {self.where.sum()}"
        opacity, rest = paint_opacity_01(shown, picture, self.colour, self.where)
        low, high = self.opacity_01
        if low < opacity < high and rest < _COLOUR_TOLERANCE:
            return None
        return (
            f"is painted with opacity {opacity:.2f}; {rest:.1f} grey levels are "
            f"left that its colour does not explain"
        )


def assert_painted(
    browser: Browser,
    picture: NDArray[np.uint8],
    paints: Mapping[str, Paint],
    *,
    untouched: NDArray[np.bool_],
    screenshot: Path,
) -> None:
    """Wait until the open task looks right, and fail when it never does.

    Args:
        browser: its editor shows the task.
        picture: uint8 (Y, X, 3), the upright pixels without any paint.
        paints: label to what it must look like.
        untouched: bool (Y, X), pixels that no label covers, nor its edge.
        screenshot: where the window is kept for a person to look at.
    """
    rows, columns, _ = picture.shape

    def problems(shown: NDArray[np.uint8]) -> dict[str, str]:
        found = {label: p.problem(shown, picture) for label, p in paints.items()}
        return {label: what for label, what in found.items() if what is not None}

    shown = browser.wait_for_painting((rows, columns), lambda area: not problems(area))
    browser.save_screenshot(screenshot)

    assert problems(shown) == {}
    difference = np.abs(shown.astype(int) - picture.astype(int)).max(axis=2)
    kept = difference[untouched] <= _COLOUR_TOLERANCE
    assert kept.mean() >= 1 - _TOOL_BAR_01
