#!/usr/bin/env bash
# label-studio-sdk 2.1.2 with pycocotools 2.0.11: COCO that goes in and out of Label
# Studio's converter has two objects for one, or does not go in at all.
#
# An object in COCO has a segmentation and, always, the box around it. We guessed that
# the import makes one region of an object, a polygon or a brush mask, and that the
# export of the imported tasks has as many annotations as went in.
# Seen: an object with a polygon becomes a rectangle *and* a polygon, one with a polygon
# of two parts a rectangle and two polygons; nothing ties them together. Exported again,
# one object is two, or three; a detector trained on that learns every box twice. One
# object with a run-length mask, as pycocotools writes it, ends the import of the whole
# file with a TypeError, before anything is written. Drop the results of the kind that is
# not wanted after an import, and write brush results yourself for run-length masks.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    label-studio-sdk==2.1.2 numpy==2.2.6 pycocotools==2.0.11 2>/dev/null
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import json
import os
import subprocess
import sys

import numpy as np
from label_studio_sdk.converter import Converter
from pycocotools import mask as coco

COMMAND = os.path.join(os.path.dirname(sys.executable), "label-studio-converter")

mask = np.zeros((30, 40), np.uint8, order="F")
mask[3:18, 4:20] = 1
runs = coco.encode(mask)
runs["counts"] = runs["counts"].decode()
square, triangle = [4, 3, 20, 3, 20, 18, 4, 18], [30, 3, 35, 3, 35, 18]
segmentations = {
    "a polygon": ([square], [4, 3, 16, 15]),
    "a polygon of two parts": ([square, triangle], [4, 3, 31, 15]),
    "a run-length mask": (runs, [4, 3, 16, 15]),
}


def pass_through(segmentation: object, box: list[int]) -> str:
    image = {"id": 1, "width": 40, "height": 30, "file_name": "image.png"}
    thing = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": box}
    thing |= {"segmentation": segmentation, "area": box[2] * box[3]}
    whole = {"images": [image], "annotations": [thing]}
    whole["categories"] = [{"id": 1, "name": "cat"}]
    with open("coco.json", "w") as file:
        json.dump(whole, file)
    words = [COMMAND, "import", "coco", "-i", "coco.json", "-o", "tasks.json"]
    words += ["--image-root-url", "http://127.0.0.1/images"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1].split(":")[0]
    with open("tasks.json") as file:
        tasks = json.load(file)
    tasks[0]["annotations"][0] |= {"id": 1, "completed_by": 1, "was_cancelled": False}
    with open("tasks.json", "w") as file:
        json.dump([{"id": 1, **tasks[0]}], file)
    with open("tasks.label_config.xml") as file:
        converter = Converter(file.read(), ".", download_resources=False)
    converter.convert_to_coco("tasks.json", "out", is_dir=False)
    with open("out/result.json") as file:
        return f"{len(json.load(file)['annotations'])} objects"


seen = {name: pass_through(*object_) for name, object_ in segmentations.items()}
for name, back in seen.items():
    print(f"one object with {name} in, back: {back}")
assert list(seen.values()) == ["2 objects", "3 objects", "TypeError"], seen
PYTHON
