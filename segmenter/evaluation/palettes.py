"""Whether the numbers of palette pictures can be class numbers.

A palette's colours mean nothing here, only its numbers. But programs that save colours
with a palette number them as they like, by how often they occur for example: then the
numbers of each picture are its own, and every figure counted with them is wrong.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

_REMEDY: Final = (
    "Save the truths as 8-bit grey, or with one palette, such that each pixel's value "
    "is the number of its class."
)


class PaletteCheck:
    """Remembers which colour each number has in the truths of a run."""

    def __init__(self, *, is_voc: bool) -> None:
        """Know no colour yet.

        Args:
            is_voc: whether the classes are those of VOC, whose colours are fixed.
        """
        self._own = _voc_colours() if is_voc else {}
        self._seen: dict[int, tuple[Colour, str]] = {}

    def problem(
        self, name: str, numbers: Sequence[int], palette: NDArray[np.uint8]
    ) -> str:
        """What speaks against a truth's numbers, in a sentence; empty if nothing.

        Args:
            name: of the image.
            numbers: that its truth holds.
            palette: uint8 (256, 3), RGB of each number.
        """
        colours = {number: _colour(palette, number) for number in numbers}
        own = [(n, self._own[c]) for n, c in colours.items() if c in self._own]
        swapped = next((pair for pair in own if pair[0] != pair[1]), None)
        if swapped and len(own) == len(colours):
            return (
                f"The truth of {name} holds the number {swapped[0]} in VOC's colour of "
                f"{swapped[1]}: its palette was numbered anew. {_REMEDY}"
            )
        for number, colour in colours.items():
            before, first = self._seen.setdefault(number, (colour, name))
            if before != colour:
                return (
                    f"The number {number} is {colour} in the palette of {name} and "
                    f"{before} in that of {first}: the palettes are each picture's "
                    f"own. {_REMEDY}"
                )
        return ""


def _colour(palette: NDArray[np.uint8], number: int) -> Colour:
    red, green, blue = palette[number].tolist()
    return red, green, blue


def _voc_colours() -> dict[Colour, int]:
    """VOC's number of each of its colours: its bits, dealt out to red, green, blue."""
    numbers = np.arange(256)
    levels = [
        sum(((numbers >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for channel in range(3)
    ]
    palette = np.stack(levels, axis=1).astype(np.uint8)  # (256, 3)
    return {_colour(palette, number): number for number in range(256)}
