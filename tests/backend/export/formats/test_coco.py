"""What is written is read by pycocotools itself."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from backend.export.classes import Classes
from backend.export.format import known_formats
from backend.export.pictures import Picture
from tests.backend.export.drawn import picture, region
from tests.masks import masks, noise, wavy

# Of pycocotools' own decoder under NumPy 2; we call its encoder alone.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)

LABELS = ["cat", "dog"]


def written(folder: Path, pictures: Sequence[Picture]) -> COCO:
    folder.mkdir(exist_ok=True)
    writer = known_formats()["coco"].open(folder, Classes(LABELS))
    for one in pictures:
        writer.add(one, writer.encode(one))
    writer.finish()
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / "annotations.json"))


@settings(deadline=None)
@given(mask=masks() | noise(longest_px=40))
def test_a_mask_comes_back_pixel_by_pixel(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray
) -> None:
    results = [region(mask)]

    coco = written(tmp_path_factory.mktemp("coco"), [picture(results, mask.shape)])

    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["height"], image["width"]) == mask.shape
    found = coco.loadAnns(coco.getAnnIds())
    assert len(found) == mask.any()
    for annotation in found:
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        x0, y0 = columns.min(), rows.min()
        width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert annotation["bbox"] == [x0, y0, width, height]


def test_categories_are_the_labels_in_their_order_and_ids_count_from_1(
    tmp_path: Path,
) -> None:
    mask = wavy(20, 30)
    first = picture(
        [region(mask, "dog"), region(~mask, "owl", region_id="r2")], (20, 30)
    )
    second = picture([], (5, 6), stem="empty")
    third = picture([region(mask, "cat")], (20, 30), stem="third")

    coco = written(tmp_path, [first, second, third])

    assert [(c["id"], c["name"]) for c in coco.loadCats(coco.getCatIds())] == [
        (1, "cat"),
        (2, "dog"),
        (3, "owl"),
    ]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in coco.anns.values()] == [
        (1, 1, 2),
        (2, 1, 3),
        (3, 3, 1),
    ]
    assert [image["file_name"] for image in coco.imgs.values()] == [
        "photo.jpg",
        "empty.jpg",
        "third.jpg",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json"]


def test_a_perfect_match_counts_as_one_in_cocoeval(tmp_path: Path) -> None:
    mask = wavy(40, 60)
    truth = written(tmp_path, [picture([region(mask, "cat")], (40, 60))])
    detections = [
        {**annotation, "score": 0.9} for annotation in truth.dataset["annotations"]
    ]

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(detections), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    assert evaluation.stats[0] == pytest.approx(1)


def test_a_region_with_two_labels_is_two_objects_of_one_mask(tmp_path: Path) -> None:
    result = region(wavy(20, 30))
    result["value"]["brushlabels"] = ["dog", "cat"]

    coco = written(tmp_path, [picture([result], (20, 30))])

    assert [a["category_id"] for a in coco.anns.values()] == [2, 1]


def test_an_image_inside_of_its_address_has_no_url(tmp_path: Path) -> None:
    inline = picture([], (2, 3))
    object.__setattr__(inline, "address", "data:image/png;base64,AAAA")

    written(tmp_path, [inline, picture([], (2, 3), stem="b")])

    images = json.loads((tmp_path / "annotations.json").read_text())["images"]
    assert [image.get("coco_url") for image in images] == [None, "/data/upload/1/b.jpg"]
