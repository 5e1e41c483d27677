"""Write pocket scenes as a data set in VOC layout, to be evaluated at once.

    python -m segmenter.pocket.voc DIR
    diffsegmenter evaluate DIR --classes pocket

Scenes of the test split, unless `--first-seed` says otherwise; each is named after its
seed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from rich.console import Console

from segmenter.masks import label_colour
from segmenter.pocket.scenes import TEST_SEED_START, Scene, render_scene
from segmenter.pocket.words import WORDS


def write_voc_folder(
    folder: Path,
    *,
    n_scenes: int,
    first_seed: int = TEST_SEED_START,
    size_yx: tuple[int, int] = (128, 128),
    n_objects: int | None = None,
) -> None:
    """Render scenes and their truth, and list them as the split "val".

    Args:
        folder: made where it is missing; files of the same name are replaced.
        n_scenes: how many, of as many seeds in a row.
        first_seed: see `render_scene`.
        size_yx: of each picture in pixels, rows first.
        n_objects: in each scene; None draws 1 to 4.
    """
    images, truth, lists = (
        folder / name
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    )
    for part in (images, truth, lists):
        part.mkdir(parents=True, exist_ok=True)
    seeds = range(first_seed, first_seed + n_scenes)
    for seed in seeds:
        scene = render_scene(seed, n_objects=n_objects, size_yx=size_yx)
        Image.fromarray(scene.image).save(images / f"{seed}.png")
        _truth_picture(scene).save(truth / f"{seed}.png")
    (lists / "val.txt").write_text("".join(f"{seed}\n" for seed in seeds))


def _truth_picture(scene: Scene) -> Image.Image:
    """Class numbers with a palette: black is background."""
    picture = Image.fromarray(scene.class_map)
    colours = [(0, 0, 0), *(label_colour(index) for index in range(len(WORDS)))]
    picture.putpalette([level for colour in colours for level in colour])
    return picture


def _size_yx(text: str) -> tuple[int, int]:
    rows, _, columns = text.partition("x")
    try:
        size_yx = int(rows), int(columns)
    except ValueError:
        size_yx = (0, 0)
    if min(size_yx) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give rows and columns in pixels, such as 128x128"
        )
    return size_yx


def _number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number within limits."""
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(
                f"{text!r} cannot be used; give a whole number {limits}"
            )
        return number

    return read


def main() -> None:
    """Read the command line and write the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m segmenter.pocket.voc",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="made where it is missing"
    )
    parser.add_argument("--scenes", type=_number(1), default=200, help="how many")
    parser.add_argument(
        "--size", type=_size_yx, default="128x128", help="ROWSxCOLUMNS, in pixels"
    )
    parser.add_argument(
        "--first-seed",
        type=_number(0),
        default=TEST_SEED_START,
        help="names the first scene",
    )
    parser.add_argument(
        "--objects",
        type=_number(1, len(WORDS)),
        default=argparse.SUPPRESS,
        help="in each scene; else 1 to 4",
    )
    arguments = parser.parse_args()
    write_voc_folder(
        arguments.folder,
        n_scenes=arguments.scenes,
        first_seed=arguments.first_seed,
        size_yx=arguments.size,
        n_objects=getattr(arguments, "objects", None),
    )
    Console().print(
        f"{arguments.scenes} scenes are in {arguments.folder}; measure them with "
        f"diffsegmenter evaluate {arguments.folder} --classes pocket",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
