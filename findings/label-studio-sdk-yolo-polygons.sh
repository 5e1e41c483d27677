#!/usr/bin/env bash
# label-studio-sdk 2.1.2: polygons that its converter wrote as YOLO, it reads as boxes.
#
# In YOLO a line of a class and four numbers is a box, one of more numbers a polygon for
# segmentation, which is how the converter exports <PolygonLabels>. We guessed that the
# import of the same converter gives those polygons back, or refuses them.
# Seen: each line becomes a rectangle: the first two corners' numbers are taken for the
# centre and the size, the fifth number for a score, the rest is dropped. The import ends
# with status 0 and no warning, and the rectangle lies elsewhere, in part outside the
# picture. Masks for Label Studio come from JSON (polygonlabels, brushlabels), never from
# that import; look at one picture before importing a thousand.
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
import os

from label_studio_sdk.converter import Converter
from PIL import Image

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<PolygonLabels name="shape" toName="image"><Label value="cat"/></PolygonLabels>'
    "</View>"
)
points = [[10, 10], [50, 10], [50, 60], [10, 60], [20, 30]]
region = {
    "id": "a1",
    "from_name": "shape",
    "to_name": "image",
    "type": "polygonlabels",
    "original_width": 400,
    "original_height": 200,
    "value": {"points": points, "polygonlabels": ["cat"]},
}
annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [region]}
Image.new("RGB", (400, 200)).save("image.png")
with open("tasks.json", "w") as file:
    tasks = [{"id": 1, "data": {"image": "image.png"}, "annotations": [annotation]}]
    json.dump(tasks, file)
converter = Converter(CONFIG, ".", download_resources=False)
assert "YOLO" in converter.supported_formats
converter.convert("tasks.json", "yolo", "YOLO", is_dir=False)
os.renames("image.png", "yolo/images/image.png")
PYTHON

"$folder/venv/bin/label-studio-converter" import yolo -i yolo -o back.json >log 2>&1

"$folder/venv/bin/python" - <<'PYTHON'
import json

with open("yolo/labels/image.txt") as file:
    line = file.read().strip()
with open("back.json") as file:
    results = json.load(file)[0]["annotations"][0]["result"]
with open("log") as file:
    complaints = [row for row in file if "WARN" in row or "ERROR" in row]
print("exported:", line)
for result in results:
    print("imported:", result["type"], result["value"], "score", result.get("score"))
assert line.split() == "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6 0.2 0.3".split(), line
assert [result["type"] for result in results] == ["rectanglelabels"], results
x, y, width, height = (results[0]["value"][key] for key in ("x", "y", "width", "height"))
assert [round(n) for n in (x, y, width, height)] == [-15, 5, 50, 10], results
assert results[0]["score"] == 0.5, results
assert complaints == [], complaints
PYTHON
