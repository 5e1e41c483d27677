"""What is written is filled again by the rule of pixel centres."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.export.classes import Classes
from backend.export.format import known_formats
from backend.export.pictures import Picture
from backend.regions import parts
from tests.backend.export.drawn import picture, region
from tests.masks import masks, noise, wavy, winding_numbers


def written(
    folder: Path, one: Picture, labels: tuple[str, ...] = ("cat", "dog")
) -> str:
    writer = known_formats()["yolo"].open(folder, Classes(labels))
    writer.add(one, writer.encode(one))
    writer.finish()
    return (folder / "labels" / f"{one.stem}.txt").read_text()


def read(line: str, size_yx: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Class number and mask of one line."""
    number, *shares = line.split()
    points = np.array(shares, float).reshape(-1, 2)
    assert len(points) >= 3
    assert ((points >= 0) & (points <= 1)).all()
    ring = [tuple(point) for point in points * (size_yx[1], size_yx[0])]
    turns = winding_numbers(ring, size_yx)
    # Both rules by which programs fill.
    np.testing.assert_array_equal(turns != 0, turns % 2 == 1)
    return int(number), turns != 0


@settings(deadline=None)
@given(mask=masks() | noise(longest_px=40), shape=st.sampled_from(["brush", "bitmask"]))
def test_the_lines_of_a_mask_are_its_parts_pixel_by_pixel(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray, shape: str
) -> None:
    size_yx = (mask.shape[0], mask.shape[1])
    folder = tmp_path_factory.mktemp("yolo")

    text = written(folder, picture([region(mask, shape=shape)], size_yx))

    found = [read(line, size_yx) for line in text.splitlines()]
    assert {number for number, _ in found} <= {1}
    assert len(found) == len(parts(mask))
    np.testing.assert_array_equal(
        sum([m.astype(int) for _, m in found], np.zeros(size_yx)), mask
    )


def test_numbers_are_exact_in_the_widest_image(tmp_path: Path) -> None:
    mask = np.zeros((3, 120_000), bool)
    mask[1, [0, 59_999, 90_001, 119_999]] = True

    text = written(tmp_path, picture([region(mask)], (3, 120_000)))

    found = [read(line, (3, 120_000))[1] for line in text.splitlines()]
    np.testing.assert_array_equal(np.logical_or.reduce(found), mask)


def test_a_polygon_keeps_the_corners_that_a_person_set(tmp_path: Path) -> None:
    result = region(wavy(20, 30), shape="polygon")
    result["value"]["points"] = [[10, 20], [90.5, 20], [50, 80]]

    text = written(tmp_path, picture([result], (20, 30)))

    assert text == "1 0.1 0.2 0.905 0.2 0.5 0.8\n"


def test_a_polygon_that_leaves_the_image_is_cut_at_its_edge(tmp_path: Path) -> None:
    result = region(wavy(20, 30), shape="polygon")
    result["value"]["points"] = [[-50, -50], [50, -50], [50, 50], [-50, 50]]

    text = written(tmp_path, picture([result], (20, 30)))

    _, mask = read(text, (20, 30))
    expected = np.zeros((20, 30), bool)
    expected[:10, :15] = True
    np.testing.assert_array_equal(mask, expected)


def test_data_yaml_numbers_the_labels_in_their_order(tmp_path: Path) -> None:
    labels = ("cat", "dog: 'big' #1", "Ä\\ 犬", "yes")

    assert written(tmp_path, picture([], (2, 3)), labels) == ""

    data = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))
    assert data["names"] == dict(enumerate(labels))
    assert (data["path"], data["train"], data["val"]) == (".", "images", "images")
