#!/usr/bin/env bash
# label-studio-sdk 2.1.2: one rotated rectangle exports as three different places.
#
# A rectangle turned in the editor is stored as its corner, size and angle. We guessed
# that formats of upright boxes (COCO, VOC, YOLO) get the box around it, and YOLO_OBB,
# which knows angles, its four corners.
# Seen, for a rectangle turned by 30 degrees on a picture of 400 x 200: YOLO_OBB is right.
# YOLO and VOC have the rectangle as if it was never turned. COCO turns it in percent of
# the picture instead of in pixels, which is right on square pictures alone. Overlap (IoU)
# with the box around it: YOLO and VOC 0.34, COCO 0.62. Where people turn rectangles,
# export YOLO_OBB or JSON and make boxes of the corners.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    label-studio-sdk==2.1.2 2>/dev/null
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import json
import math
import xml.etree.ElementTree as ElementTree

from label_studio_sdk.converter import Converter
from PIL import Image

WIDTH, HEIGHT = 400, 200
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>'
    "</View>"
)
turned = {"x": 40, "y": 20, "width": 30, "height": 20, "rotation": 30}
region = {
    "id": "a1",
    "from_name": "box",
    "to_name": "image",
    "type": "rectanglelabels",
    "original_width": WIDTH,
    "original_height": HEIGHT,
    "value": {**turned, "rectanglelabels": ["cat"]},
}
annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [region]}
Image.new("RGB", (WIDTH, HEIGHT)).save("image.png")
with open("tasks.json", "w") as file:
    tasks = [{"id": 1, "data": {"image": "image.png"}, "annotations": [annotation]}]
    json.dump(tasks, file)
converter = Converter(CONFIG, ".", download_resources=False)
for name in ("COCO", "VOC", "YOLO", "YOLO_OBB"):
    assert name in converter.supported_formats, name
    converter.convert("tasks.json", name, name, is_dir=False)


def around(xs, ys):
    return min(xs), min(ys), max(xs), max(ys)


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(sizes) - shared)


# The stored corner lies at 160, 40; the sides are 120 and 40 pixels long.
right, down = math.cos(math.radians(30)), math.sin(math.radians(30))
ways = ((0, 0), (120, 0), (120, 40), (0, 40))
truth = around(
    [160 + x * right - y * down for x, y in ways],
    [40 + x * down + y * right for x, y in ways],
)

with open("COCO/result.json") as file:
    x, y, w, h = json.load(file)["annotations"][0]["bbox"]
boxes = {"COCO": (x, y, x + w, y + h)}
bounds = ElementTree.parse("VOC/Annotations/image.xml").find("object/bndbox")
boxes["VOC"] = tuple(float(bounds.findtext(key)) for key in "xmin ymin xmax ymax".split())
with open("YOLO/labels/image.txt") as file:
    x, y, w, h = (float(number) for number in file.read().split()[1:])
w, h = w / 2, h / 2
boxes["YOLO"] = ((x - w) * WIDTH, (y - h) * HEIGHT, (x + w) * WIDTH, (y + h) * HEIGHT)
with open("YOLO_OBB/labels/image.txt") as file:
    numbers = [float(number) for number in file.read().split()[1:]]
boxes["YOLO_OBB"] = around(
    [x * WIDTH for x in numbers[::2]], [y * HEIGHT for y in numbers[1::2]]
)

print("the box around the rectangle:", [round(side) for side in truth])
for name, box in boxes.items():
    print(f"{name}: {[round(side) for side in box]}, IoU {overlap(box, truth):.2f}")
assert overlap(boxes["YOLO_OBB"], truth) > 0.99, "YOLO_OBB is wrong now"
wrong = {name: overlap(boxes[name], truth) for name in ("COCO", "VOC", "YOLO")}
assert all(share < 0.9 for share in wrong.values()), "an export is right now"
PYTHON
