"""What is written is read by the evaluation itself."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from backend.errors import BadTask
from backend.export.classes import Classes
from backend.export.format import known_formats
from backend.export.pictures import Picture
from segmenter.evaluation.class_lists import load_class_list
from segmenter.evaluation.voc_folder import open_voc_folder
from tests.backend.export.drawn import picture, region
from tests.masks import masks, noise, wavy


def written(folder: Path, *pictures: Picture, labels: tuple[str, ...]) -> Path:
    writer = known_formats()["png"].open(folder, Classes(labels))
    for one in pictures:
        writer.add(one, writer.encode(one))
    writer.finish()
    (folder / "JPEGImages").mkdir()
    return folder


@settings(deadline=None)
@given(mask=masks() | noise(longest_px=40))
def test_the_truth_that_is_read_is_what_was_drawn(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray
) -> None:
    size_yx = (mask.shape[0], mask.shape[1])

    folder = written(
        tmp_path_factory.mktemp("png"),
        picture([region(mask)], size_yx),
        labels=("cat", "dog"),
    )

    found = open_voc_folder(folder)
    assert found.names == ("photo",)
    np.testing.assert_array_equal(found.read_truth("photo"), np.where(mask, 2, 0))


def test_the_upper_region_has_the_pixels_of_both(tmp_path: Path) -> None:
    below, above = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    above[1:3] = True
    results = [region(below, "dog"), region(above, "cat", region_id="r2")]

    folder = written(tmp_path, picture(results, (4, 6)), labels=("cat", "dog"))

    truth = open_voc_folder(folder).read_truth("photo")
    np.testing.assert_array_equal(truth, np.where(above, 1, 2))


def test_colours_are_those_of_voc(tmp_path: Path) -> None:
    folder = written(tmp_path, picture([], (4, 6)), labels=())

    with Image.open(folder / "SegmentationClass" / "photo.png") as opened:
        palette = opened.getpalette()
    assert opened.mode == "P"
    assert palette is not None
    colours = [tuple(palette[3 * n : 3 * n + 3]) for n in (0, 1, 2, 15, 20, 255)]
    assert colours == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]


def test_classes_are_a_list_that_the_evaluation_reads(tmp_path: Path) -> None:
    labels = ("cat", "background", "C#", "C:", "a, b", " dog")
    mask = wavy(20, 30)
    results = [region(mask, label, region_id=label) for label in labels]
    pictures = [
        picture([result], (20, 30), stem=f"p{number}")
        for number, result in enumerate(results)
    ]

    folder = written(tmp_path, *pictures, labels=labels)

    names = load_class_list(str(folder / "classes.txt")).names
    assert names == ("background", "cat", "C_", "C__", "a, b", "dog")
    truth = open_voc_folder(folder)
    numbers = [int(truth.read_truth(name).max()) for name in truth.names]
    assert numbers == [1, 0, 2, 3, 4, 5]


def test_a_label_beyond_the_last_number_is_refused(tmp_path: Path) -> None:
    labels = tuple(f"label {number}" for number in range(1, 256))
    writer = known_formats()["png"].open(tmp_path, Classes(labels))
    mask = wavy(20, 30)

    writer.encode(picture([region(mask, "label 254")], (20, 30)))
    with pytest.raises(BadTask, match="'label 255' would be number 255"):
        writer.encode(picture([region(mask, "label 255")], (20, 30)))
