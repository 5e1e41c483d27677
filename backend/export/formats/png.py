"""PNG in VOC layout: one picture of class numbers an image, in VOC's colours.

    SegmentationClass/NAME.png          0 is the background, labels count from 1
    ImageSets/Segmentation/val.txt      one NAME a line
    classes.txt                         the labels from number 1 on, one a line
    JPEGImages/NAME.png                 the images, if they are asked for

This is what `diffsegmenter evaluate` reads. A pixel has one number: where regions lie
over each other, the upper one's. A label called "background" is number 0.
"""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from backend.errors import BadTask
from backend.export.classes import Classes
from backend.export.format import Encoded, Format
from backend.export.pictures import Picture

_IMAGES: Final = "JPEGImages"
_TRUTH: Final = "SegmentationClass"
_LISTS: Final = "ImageSets"
_LIST: Final = f"{_LISTS}/Segmentation/val.txt"
_FILE: Final = "classes.txt"
_BACKGROUND: Final = "background"
# 255 is VOC's "do not count this pixel".
_MOST_LABELS: Final = 254


class _PngWriter:
    def __init__(self, folder: Path, classes: Classes) -> None:
        self._folder = folder
        self._classes = classes
        (folder / _TRUTH).mkdir()
        (folder / _LIST).parent.mkdir(parents=True)
        (folder / _LIST).write_text("")

    def encode(self, picture: Picture) -> Encoded:
        """The bytes of the picture's PNG."""
        numbers = np.zeros(picture.size_yx, np.uint8)
        n_regions = 0
        for region in picture.regions:
            mask = region.mask()
            n_regions += bool(mask.any())
            for label in region.labels:
                numbers[mask] = self._number(label)
        indexed = Image.fromarray(numbers)
        indexed.putpalette(_PALETTE)
        png = io.BytesIO()
        indexed.save(png, "PNG")
        return Encoded(content=png.getvalue(), n_regions=n_regions)

    def add(self, picture: Picture, encoded: Encoded) -> None:
        """Write the PNG, and its name into the list."""
        path = self._folder / _TRUTH / f"{picture.stem}.png"
        path.write_bytes(encoded.content)
        with (self._folder / _LIST).open("a", encoding="utf-8") as names:
            names.write(f"{picture.stem}\n")

    def finish(self) -> None:
        """Write which number is which label."""
        lines: dict[str, None] = {}
        for name in self._classes.names:
            if name == _BACKGROUND:
                continue
            line = _line(name)
            while line in lines:
                line += "_"
            lines[line] = None
        text = "".join(f"{line}\n" for line in lines)
        (self._folder / _FILE).write_text(text, encoding="utf-8", errors="replace")

    def _number(self, label: str) -> int:
        if label == _BACKGROUND:
            return 0
        number = self._classes.number(label) + 1
        names = self._classes.names
        if _BACKGROUND in names[:number]:
            number -= 1
        if number > _MOST_LABELS:
            raise BadTask(
                f"The label {label!r} would be number {number}; a PNG of class numbers "
                f"has room for {_MOST_LABELS}. Export as coco or yolo."
            )
        return number


def _line(name: str) -> str:
    """A label as a class list can hold it, where `:` and `#` mean something."""
    line = " ".join(name.replace(":", "_").replace("#", "_").split())
    return f"{line}_" if line in ("", _BACKGROUND) else line


def _voc_palette() -> list[int]:
    """VOC's 256 colours: the bits of a number, dealt to red, green, blue in turn."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> (3 * bit + channel) & 1) << (7 - bit)
    return [int(value) for value in colours.ravel()]


_PALETTE: Final = _voc_palette()

FORMAT = Format(
    images_folder=_IMAGES,
    contents=frozenset({_IMAGES, _TRUTH, _LISTS, _FILE}),
    open=_PngWriter,
)
