"""`diffsegmenter export` against a real Label Studio: is what it writes what was drawn?

Annotations come about as people's do: predictions that were accepted, and submitted
ones with what the editor leaves in them, such as soft edges and the key point that
bears a mask.
"""

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml
from label_studio_sdk.converter.brush import encode_rle
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from segmenter.evaluation.class_lists import load_class_list
from segmenter.evaluation.voc_folder import open_voc_folder
from tests.backend.export.drawn import region
from tests.e2e.examples import Example, encode_file
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.processes import REPOSITORY, child_environment
from tests.masks import wavy, winding_numbers

pytestmark = [
    pytest.mark.e2e,
    # Of pycocotools' own decoder under NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

CONFIG: Final = """<View>
  <Image name="photo" value="$image"/>
  <Image name="scan" valueList="$pages"/>
  <BrushLabels name="tag" toName="photo">
    <Label value="cat"/><Label value="dog"/>
  </BrushLabels>
  <BitmaskLabels name="tag2" toName="photo"><Label value="tree"/></BitmaskLabels>
  <PolygonLabels name="tag3" toName="photo"><Label value="house"/></PolygonLabels>
  <RectangleLabels name="tag4" toName="photo"><Label value="dog"/></RectangleLabels>
  <KeyPointLabels name="point" toName="photo"><Label value="cat"/></KeyPointLabels>
  <Labels name="names" toName="scan"><Label value="boat"/></Labels>
  <Brush name="tool" toName="scan"/>
</View>"""
LABELS: Final = ("cat", "dog", "tree", "house", "boat")
VERSION: Final = "by-hand-1"
PHOTO_YX: Final = (48, 72)
PAGE_YX: Final = (40, 30)
_TIMEOUT_S: Final = 180


def part_of(mask: NDArray[np.bool_], *, left: float, right: float) -> NDArray[np.bool_]:
    """The columns of a mask between two shares of its width."""
    columns = mask.shape[1]
    cut = np.zeros_like(mask)
    cut[:, round(left * columns) : round(right * columns)] = True
    return mask & cut


OBJECT: Final = wavy(*PHOTO_YX)
BOX: Final = np.zeros(PHOTO_YX, bool)
BOX[2:9, 3:20] = True
ALPHA: Final = np.where(OBJECT, 100 + np.arange(PHOTO_YX[1]) * 2, 20)
# What is drawn on each picture, label by label; none lies over another.
ACCEPTED: Final = {
    "cat": part_of(OBJECT, left=0, right=0.3),
    "tree": part_of(OBJECT, left=0.3, right=0.5),
    "house": part_of(OBJECT, left=0.5, right=1),
    "dog": BOX & ~OBJECT,
}
SECOND_PAGE: Final = wavy(*PAGE_YX)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What must be found of one picture."""

    masks: Mapping[str, NDArray[np.bool_]]
    size_yx: tuple[int, int]


def accepted_results() -> list[dict[str, Any]]:
    """A prediction with a region of each tool, and a pair of results on page 2."""
    boat = region(SECOND_PAGE, "boat", region_id="r5", to_name="scan", item_index=1)
    drawn = {k: v for k, v in boat["value"].items() if k != "brushlabels"}
    return [
        region(ACCEPTED["cat"], "cat", region_id="r1"),
        region(ACCEPTED["tree"], "tree", shape="bitmask", region_id="r2")
        | {"from_name": "tag2"},
        region(ACCEPTED["house"], "house", shape="polygon", region_id="r3")
        | {"from_name": "tag3"},
        region(BOX, "dog", shape="rectangle", region_id="r4") | {"from_name": "tag4"},
        boat | {"from_name": "tool", "type": "brush", "value": drawn},
        boat
        | {
            "from_name": "names",
            "type": "labels",
            "value": drawn | {"labels": ["boat"]},
        },
    ]


def corrected_results() -> list[dict[str, Any]]:
    """A brush with soft alpha, and the key point beside it that bears its mask."""
    rle = encode_rle(np.repeat(ALPHA.astype(np.uint8).ravel(), 4))
    brush = region(OBJECT, "cat", region_id="soft")
    brush["value"]["rle"] = rle
    point = {"rle": rle, "format": "rle", "keypointlabels": ["cat"]}
    twin = {"from_name": "point", "type": "keypointlabels", "value": point}
    return [brush, brush | twin]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The project, and what its pictures must be in every format."""

    project_id: int
    environment: Mapping[str, str]
    drawn: Mapping[str, Drawn]

    def run(self, format: str, out: Path, *options: str) -> str:
        """Export, and return what was said."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "backend.cli", "export", "--format", format),
                *("--project", str(self.project_id), "--out", str(out), *options),
            ],
            cwd=REPOSITORY,
            env=child_environment(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def project(api: LabelStudioApi, label_studio: LabelStudio) -> Exported:
    project_id = api.create_project(
        "Export", '<View><Image name="image" value="$image"/></View>'
    )
    # Lies on its side, and says so in its EXIF orientation.
    turned = Example(seed=1, size_yx=PHOTO_YX, turned=True)
    photo = api.upload_file(
        project_id, "a.jpg", encode_file(turned, np.full((*PHOTO_YX, 3), 90, np.uint8))
    )
    flat = Example(seed=1, size_yx=PAGE_YX)
    pages = [
        api.upload_file(
            project_id,
            f"p{n}.png",
            encode_file(flat, np.full((*PAGE_YX, 3), n, np.uint8)),
        )
        for n in (1, 2)
    ]
    api.set_label_config(project_id, CONFIG)
    data = {"image": photo, "pages": pages}
    accepted, corrected, skipped, _ = api.import_tasks(project_id, [data] * 4)
    api.store_prediction(accepted["id"], VERSION, accepted_results())
    api.accept_predictions(project_id, VERSION)
    api.submit_annotation(corrected["id"], [region(OBJECT, "dog")])
    api.submit_annotation(corrected["id"], corrected_results())
    api.submit_annotation(skipped["id"], [region(OBJECT, "dog")], was_cancelled=True)

    def stem(address: str, page: str = "") -> str:
        name = address.rpartition("/")[2].rpartition(".")[0]
        return f"{name}{page}"

    again = f"-task{corrected['id']}"
    soft = {"cat": ALPHA >= 128}
    return Exported(
        project_id=project_id,
        environment={
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        },
        drawn={
            stem(photo): Drawn(masks=ACCEPTED | {"dog": BOX}, size_yx=PHOTO_YX),
            stem(pages[0]): Drawn(masks={}, size_yx=PAGE_YX),
            stem(pages[1]): Drawn(masks={"boat": SECOND_PAGE}, size_yx=PAGE_YX),
            stem(photo, again): Drawn(masks=soft, size_yx=PHOTO_YX),
            stem(pages[0], f"{again}-page1"): Drawn(masks={}, size_yx=PAGE_YX),
            stem(pages[1], f"{again}-page2"): Drawn(masks={}, size_yx=PAGE_YX),
        },
    )


def test_coco_holds_what_was_drawn(project: Exported, tmp_path: Path) -> None:
    said = project.run("coco", tmp_path / "out")

    assert "6 pictures with 6 regions, of 2 tasks" in said
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert tuple(c["name"] for c in coco.loadCats(coco.getCatIds())) == LABELS
    assert min(coco.anns) == 1
    images = {Path(image["file_name"]).stem: image for image in coco.imgs.values()}
    assert images.keys() == project.drawn.keys()
    for name, drawn in project.drawn.items():
        found = coco.loadAnns(coco.getAnnIds(imgIds=images[name]["id"]))
        masks = {
            LABELS[annotation["category_id"] - 1]: coco.annToMask(annotation)
            for annotation in found
        }
        assert (images[name]["height"], images[name]["width"]) == drawn.size_yx
        assert masks.keys() == drawn.masks.keys()
        for label, mask in drawn.masks.items():
            np.testing.assert_array_equal(masks[label], mask)


def test_yolo_holds_what_was_drawn(project: Exported, tmp_path: Path) -> None:
    project.run("yolo", tmp_path / "out")

    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(LABELS))
    files = {path.stem: path for path in (tmp_path / "out" / "labels").iterdir()}
    assert files.keys() == project.drawn.keys()
    for name, drawn in project.drawn.items():
        masks: dict[str, NDArray[np.bool_]] = {}
        for line in files[name].read_text().splitlines():
            number, *shares = line.split()
            points = np.array(shares, float).reshape(-1, 2)
            ring = [tuple(p) for p in points * (drawn.size_yx[1], drawn.size_yx[0])]
            inside = winding_numbers(ring, drawn.size_yx) != 0
            label = LABELS[int(number)]
            masks[label] = masks.get(label, np.zeros_like(inside)) | inside
        assert masks.keys() == drawn.masks.keys()
        for label, mask in drawn.masks.items():
            np.testing.assert_array_equal(masks[label], mask)


def test_png_is_a_folder_to_evaluate_upright_images_included(
    project: Exported, tmp_path: Path
) -> None:
    project.run("png", tmp_path / "out", "--images")

    assert load_class_list(str(tmp_path / "out" / "classes.txt")).names[1:] == LABELS
    folder = open_voc_folder(tmp_path / "out")
    assert set(folder.names) == project.drawn.keys()
    for name, drawn in project.drawn.items():
        truth = np.zeros(drawn.size_yx, np.uint8)
        # The rectangle is the last region, and so above the others.
        for label, mask in drawn.masks.items():
            truth[mask] = 1 + LABELS.index(label)
        np.testing.assert_array_equal(folder.read_truth(name), truth)
        assert folder.read_image(name).shape[:2] == drawn.size_yx
        with Image.open(tmp_path / "out" / "JPEGImages" / f"{name}.png") as opened:
            assert not opened.getexif()


def test_the_evaluation_takes_the_folder_as_it_is(
    project: Exported, tmp_path: Path
) -> None:
    project.run("png", tmp_path / "out", "--images")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "backend.cli", "evaluate", str(tmp_path / "out")),
            *("--classes", str(tmp_path / "out" / "classes.txt"), "--device", "cpu"),
            *("--out", str(tmp_path / "report.json")),
        ],
        cwd=REPOSITORY,
        env=child_environment({}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr
    assert "mIoU" in done.stdout
