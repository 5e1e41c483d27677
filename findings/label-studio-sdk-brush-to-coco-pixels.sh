#!/usr/bin/env bash
# label-studio-sdk 2.1.2 with pycocotools 2.0.11: masks exported as BRUSH_TO_COCO are
# other masks, and some are missing.
#
# COCO holds any mask, as a run-length code where polygons will not do. We guessed that
# the export "Brush labels to COCO" keeps each region to the pixel, or nearly.
# Seen: every region becomes the outer outlines through the *centres* of its border
# pixels. Painted by pycocotools, a square of 10 x 10 comes back as 9 x 9 (the last row
# and column are lost; `area` says 81, `bbox` beside it 10 x 10), a hole of 64 pixels
# comes back filled, and a line one pixel wide has no annotation at all, without a word.
# An export of that kind is no ground truth for thin, small or pierced objects: decode
# the runs of the JSON export (or BRUSH_TO_NUMPY) and encode the masks with pycocotools.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    label-studio-sdk==2.1.2 numpy==2.2.6 opencv-python-headless==4.12.0.88 \
    pycocotools==2.0.11 2>/dev/null
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import json

import numpy as np
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image
from pycocotools import mask as coco

WIDTH, HEIGHT = 40, 30
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="square"/><Label value="ring"/><Label value="line"/>'
    "</BrushLabels></View>"
)

drawn = {name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in ("square", "ring", "line")}
drawn["square"][2:12, 2:12] = 1
drawn["ring"][14:28, 2:16] = 1
drawn["ring"][17:25, 5:13] = 0
drawn["line"][5:25, 30] = 1

Image.new("RGB", (WIDTH, HEIGHT)).save("image.png")
result = [
    {
        "id": name,
        "from_name": "tag",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"format": "rle", "rle": mask2rle(mask * 255), "brushlabels": [name]},
    }
    for name, mask in drawn.items()
]
annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": result}
tasks = [{"id": 1, "data": {"image": "image.png"}, "annotations": [annotation]}]
with open("tasks.json", "w") as file:
    json.dump(tasks, file)
Converter(CONFIG, ".").convert("tasks.json", "out", "BRUSH_TO_COCO", is_dir=False)
with open("out/result_coco.json") as file:
    exported = json.load(file)

names = {category["id"]: category["name"] for category in exported["categories"]}
back = {}
for found in exported["annotations"]:
    name = names[found["category_id"]]
    runs = coco.merge(coco.frPyObjects(found["segmentation"], HEIGHT, WIDTH))
    back[name] = int(coco.area(runs)), found["area"], found["bbox"][2:]
for name, mask in drawn.items():
    print(f"{name}: {mask.sum()} pixels drawn; painted back, area, size:", back.get(name))
assert back == {"square": (81, 81, [10, 10]), "ring": (169, 169, [14, 14])}, back
PYTHON
