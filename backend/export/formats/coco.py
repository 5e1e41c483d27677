"""COCO: `annotations.json`, one run-length mask a region. Ids count from 1.

Masks are compressed by pycocotools, so that they are pixel by pixel what was drawn,
holes and separate parts included. An annotation's id is never 0: COCOeval takes 0 for
"matched nothing" and would count a perfect match as a miss.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask  # type: ignore[import-untyped]

from backend.export.classes import Classes
from backend.export.format import Encoded, Format
from backend.export.pictures import Picture
from backend.regions import DrawnRegion

_FILE: Final = "annotations.json"
_IMAGES: Final = "images"


class _CocoWriter:
    """Appends to the file picture by picture; what else it holds follows at the end."""

    def __init__(self, folder: Path, classes: Classes) -> None:
        self._classes = classes
        self._path = folder / _FILE
        # Beside the file, since memory ends before a large project does.
        self._images_path = folder / f"{_FILE}.images"
        self._path.write_text('{"annotations": [')
        self._images_path.write_text("")
        self._n_images = self._n_annotations = 0

    def encode(self, picture: Picture) -> Encoded:
        """One annotation for each label of each region, without ids."""
        found = [
            (region, mask)
            for region in picture.regions
            if (mask := _encode(region)) is not None
        ]
        annotations = [
            mask | {"category_id": self._classes.number(label) + 1}
            for region, mask in found
            for label in region.labels
        ]
        return Encoded(content=annotations, n_regions=len(found))

    def add(self, picture: Picture, encoded: Encoded) -> None:
        """Number what was encoded, and write it."""
        self._n_images += 1
        rows = []
        for number, annotation in enumerate(encoded.content, self._n_annotations + 1):
            rows.append({"id": number, "image_id": self._n_images} | annotation)
        _append(self._path, rows, is_first=not self._n_annotations)
        self._n_annotations += len(rows)
        image = _image(picture, self._n_images)
        _append(self._images_path, [image], is_first=self._n_images == 1)

    def finish(self) -> None:
        """Write images and categories behind the annotations."""
        categories = [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(self._classes.names, start=1)
        ]
        with self._path.open("a") as file, self._images_path.open() as images:
            file.write('\n],\n"images": [')
            shutil.copyfileobj(images, file)
            file.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')
        self._images_path.unlink()


def _image(picture: Picture, number: int) -> dict[str, Any]:
    rows, columns = picture.size_yx
    image: dict[str, Any] = {
        "id": number,
        "file_name": picture.file_name,
        "width": columns,
        "height": rows,
        "task_id": picture.task_id,
    }
    if not picture.is_inline:
        image["coco_url"] = picture.address
    return image


def _encode(region: DrawnRegion) -> dict[str, Any] | None:
    """Mask, area and box of a region; None for one without a pixel."""
    mask = region.mask()
    if not mask.any():
        return None
    rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    box = [float(number) for number in coco_mask.toBbox(rle)]
    return {
        "segmentation": {"size": list(mask.shape), "counts": rle["counts"].decode()},
        "area": int(coco_mask.area(rle)),
        "bbox": box,
        "iscrowd": 0,
    }


def _append(path: Path, rows: Sequence[dict[str, Any]], *, is_first: bool) -> None:
    lines = [json.dumps(row, separators=(",", ":")) for row in rows]
    if lines:
        with path.open("a") as file:
            file.write(("\n" if is_first else ",\n") + ",\n".join(lines))


FORMAT = Format(
    images_folder=_IMAGES, contents=frozenset({_FILE, _IMAGES}), open=_CocoWriter
)
