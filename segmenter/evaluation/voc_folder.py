"""A data set in VOC layout in, its images and their truth out.

    JPEGImages/NAME.jpg                 or .jpeg, .png
    SegmentationClass/NAME.png          class numbers: a palette or 8-bit grey
    ImageSets/Segmentation/SPLIT.txt    or ImageSets/SPLIT.txt: one NAME a line

Pixels are as they lie in the file: VOC's truth knows nothing of EXIF's orientation.
Axis letters: Y, X image pixels.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.errors import PictureError
from segmenter.evaluation.errors import BadFolder, BadSample
from segmenter.evaluation.text_lines import read_lines
from segmenter.pictures import DECODER_FAULTS, decode_image, keep_picture_chunks

_IMAGES: Final = "JPEGImages"
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_LISTS: Final = ("ImageSets/Segmentation", "ImageSets")
# Palette, grey, black and white: modes whose values are class numbers.
_NUMBERED: Final = ("P", "L", "1")


@dataclass(frozen=True, kw_only=True)
class VocFolder:
    """One split of a data set.

    Attributes:
        root: the folder with the three others.
        split: the name of the list.
        truth_folder: the name of the one with the truth.
        names: of the split's images, without suffix, each once, in its order.
    """

    root: Path
    split: str
    truth_folder: str
    names: tuple[str, ...]

    def read_image(self, name: str) -> NDArray[np.uint8]:
        """The pixels of an image: uint8 (Y, X, 3), RGB.

        Raises:
            BadSample: if there is no such file, or it cannot be read.
        """
        paths = [self.root / _IMAGES / f"{name}{suffix}" for suffix in _SUFFIXES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise BadSample(f"There is no {paths[0]}, nor .jpeg or .png.")
        try:
            picture = decode_image(path.read_bytes(), turns=False)
        except (PictureError, OSError) as e:
            raise BadSample(f"{path} cannot be read as an image: {e}") from e
        if not picture.is_complete:
            raise BadSample(f"{path} cannot be read as an image: it ends early.")
        return picture.pixels

    def read_truth(self, name: str) -> NDArray[np.uint8]:
        """The class numbers of an image's pixels: uint8 (Y, X), 255 to be ignored.

        Raises:
            BadSample: if there is no such file, or it holds no class numbers.
        """
        path = self.root / self.truth_folder / f"{name}.png"
        if not path.is_file():
            raise BadSample(f"There is no {path}.")
        with _reading(path), _open(path) as opened:
            if opened.mode in _NUMBERED:
                return np.asarray(opened).astype(np.uint8)
            mode = opened.mode
        raise BadSample(
            f"{path} has the mode {mode}; class numbers are read from palettes and "
            f"8-bit grey (modes P and L)."
        )

    def read_palette(self, name: str) -> NDArray[np.uint8] | None:
        """The colours of a truth's numbers: uint8 (256, 3), None if it has none.

        Raises:
            BadSample: if the file cannot be read.
        """
        path = self.root / self.truth_folder / f"{name}.png"
        with _reading(path), _open(path) as opened:
            levels = opened.getpalette("RGB") if opened.mode == "P" else None
        if levels is None:
            return None
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(levels) // 3] = np.reshape(levels, (-1, 3))[:256]
        return palette


def open_voc_folder(
    root: Path, *, split: str = "val", truth_folder: str = "SegmentationClass"
) -> VocFolder:
    """Read which images a split has.

    Args:
        root: the folder with JPEGImages, the truth and ImageSets.
        split: the list's name; may begin with a folder of ImageSets
            ("SegmentationContext/val").
        truth_folder: such as "SegmentationClassAug".

    Raises:
        BadFolder: naming what is missing.
    """
    for folder in (root, root / _IMAGES, root / truth_folder):
        if not folder.is_dir():
            raise BadFolder(
                f"There is no folder {folder}. In VOC layout a data set is "
                f"{_IMAGES}/NAME.jpg, {truth_folder}/NAME.png (another folder: "
                f"--truth-folder) and {_LISTS[0]}/{split}.txt."
            )
    return VocFolder(
        root=root,
        split=split,
        truth_folder=truth_folder,
        names=_read_names(root, split),
    )


def _read_names(root: Path, split: str) -> tuple[str, ...]:
    paths = [root / folder / f"{split}.txt" for folder in _LISTS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise BadFolder(
            f"There is no {paths[0]}, nor {paths[1]}: write there the names of the "
            f"images, one a line without suffix{_others(root)}."
        )
    try:
        lines = read_lines(path)
    except (OSError, UnicodeDecodeError) as e:
        raise BadFolder(f"{path} cannot be read: {e}.") from e
    names = tuple(dict.fromkeys(line for line in lines if line))
    if not names:
        raise BadFolder(f"{path} names no image; write one name a line.")
    return names


def _others(root: Path) -> str:
    """Which splits there are instead, as the end of a sentence."""
    sets = root / "ImageSets"
    paths = sorted([*sets.glob("Segmentation*/*.txt"), *sets.glob("*.txt")])
    found = [
        path.relative_to(sets).with_suffix("").as_posix().removeprefix("Segmentation/")
        for path in paths
    ]
    return f", or pass as --split one of {', '.join(found)}" if found else ""


def _open(path: Path) -> Image.Image:
    """A PNG, whatever is wrong with what is no part of its picture."""
    return Image.open(io.BytesIO(keep_picture_chunks(path.read_bytes())))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (*DECODER_FAULTS, Image.DecompressionBombError) as e:
        raise BadSample(f"{path} cannot be read as an image: {e}.") from e
