#!/usr/bin/env bash
# label-studio-sdk 2.1.2: a <Labels> may be drawn with <Brush>, not with <MagicWand>.
#
# Label Studio's documents show <Labels> beside <MagicWand>, whose regions are brush
# masks like those of <Brush>: two results with one id, the mask and its label. We
# guessed that strict validation of a prediction takes the pair of either tool.
# Seen: the pair beside <Brush> has no complaint. The same pair beside <MagicWand> is
# refused: the result of type "labels" is said to lack start, end and labels of a text
# span. A backend that pre-annotates such a config must be asked for a <Brush>.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    label-studio-sdk==2.1.2 numpy==2.2.6 2>/dev/null

"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from label_studio_sdk.converter.brush import mask2rle
from label_studio_sdk.label_interface import LabelInterface

mask = np.zeros((4, 6), np.uint8)
mask[1:3, 2:5] = 255
drawn = {"format": "rle", "rle": mask2rle(mask)}


def complaints(tool: str, kind: str) -> list[str]:
    config = (
        '<View><Image name="image" value="$image"/>'
        '<Labels name="label" toName="image"><Label value="cat"/></Labels>'
        f'<{tool} name="tool" toName="image"/></View>'
    )
    about = {
        "id": "a1",
        "to_name": "image",
        "original_width": 6,
        "original_height": 4,
        "image_rotation": 0,
    }
    pair = [
        {**about, "from_name": "tool", "type": kind, "value": drawn},
        {
            **about,
            "from_name": "label",
            "type": "labels",
            "value": {**drawn, "labels": ["cat"]},
        },
    ]
    prediction = {"model_version": "v", "score": 0.5, "result": pair}
    return LabelInterface(config).validate_prediction(prediction, return_errors=True)


brush = complaints("Brush", "brush")
wand = complaints("MagicWand", "magicwand")
print("beside <Brush>:", brush or "no complaint")
print("beside <MagicWand>:", wand or "no complaint")
assert brush == [], "the pair beside <Brush> is refused now"
assert wand, "the pair beside <MagicWand> is taken now"
PYTHON
