"""YOLO segmentation: `labels/NAME.txt`, one outline a line, and `data.yaml`.

    class x1 y1 x2 y2 ...       shares of columns and rows; classes count from 0

An outline is one ring: each connected part of a region has a line of its own, and a
hole is joined to the ring by a way there and back, which encloses nothing. So what a
program fills by pixel centres is what was drawn; one that paints the ring itself as
well (as `cv2.fillPoly` does) makes masks half a pixel wider, and shows those ways as
thin lines.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backend.export.classes import Classes
from backend.export.format import Encoded, Format
from backend.export.pictures import Picture
from backend.regions import DrawnRegion, outline, parts

_IMAGES: Final = "images"
_LABELS: Final = "labels"
_FILE: Final = "data.yaml"
# Of a share: a hundredth of a pixel of the widest image that is read.
_DECIMALS: Final = 8


class _YoloWriter:
    def __init__(self, folder: Path, classes: Classes) -> None:
        self._folder = folder
        self._classes = classes
        (folder / _LABELS).mkdir()

    def encode(self, picture: Picture) -> Encoded:
        """The lines of a picture's file; a picture with nothing drawn has none."""
        lines: list[str] = []
        n_regions = 0
        for region in picture.regions:
            outlines = [_shares(ring, region.size_yx) for ring in _rings(region)]
            n_regions += bool(outlines)
            for label in region.labels if outlines else ():
                number = self._classes.number(label)
                lines += [f"{number} {numbers}\n" for numbers in outlines]
        return Encoded(content="".join(lines), n_regions=n_regions)

    def add(self, picture: Picture, encoded: Encoded) -> None:
        """Write the picture's file."""
        path = self._folder / _LABELS / f"{picture.stem}.txt"
        path.write_text(encoded.content, encoding="utf-8")

    def finish(self) -> None:
        """Write which number is which label."""
        lines = [
            "# Made by `diffsegmenter export`. All pictures are in one split.",
            "path: .",
            f"train: {_IMAGES}",
            f"val: {_IMAGES}",
            "names:",
            # JSON's texts are YAML's as well, whatever a label is called.
            *(
                f"  {number}: {json.dumps(name, ensure_ascii=False)}"
                for number, name in enumerate(self._classes.names)
            ),
        ]
        text = "\n".join(lines) + "\n"
        (self._folder / _FILE).write_text(text, encoding="utf-8", errors="replace")


def _rings(region: DrawnRegion) -> Iterator[NDArray[np.float64]]:
    """The corners that a person set, else the outlines of the mask's parts, exactly."""
    mask = region.mask()
    if not mask.any():
        return
    ring = region.ring()
    if ring is not None:
        yield ring
        return
    for part in parts(mask):
        yield np.array(outline(part, tolerance_px=0), np.float64)


def _shares(ring_px: NDArray[np.float64], size_yx: tuple[int, int]) -> str:
    rows, columns = size_yx
    shares = (ring_px / (columns, rows)).ravel().round(_DECIMALS)
    return " ".join(
        f"{share:.{_DECIMALS}f}".rstrip("0").rstrip(".") for share in shares
    )


FORMAT = Format(
    images_folder=_IMAGES,
    contents=frozenset({_IMAGES, _LABELS, _FILE}),
    open=_YoloWriter,
)
