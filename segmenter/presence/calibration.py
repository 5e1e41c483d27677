"""What turns evidence of presence into a probability, read from beside a model.

A model's folder may hold `presence.json`; the pocket model's does, fitted by
`python -m segmenter.pocket.train --only presence`. Others get the defaults below.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segmenter.errors import WeightsNotFound
from segmenter.source import ModelSource

_FILE: Final = "presence.json"

_NEGATIVES: Final = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic
    light, fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse,
    sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
    suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball
    glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
    knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
    pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
    refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush,
    sky, grass, water, road, wall, floor, building, mountain, ground, snow, sand,
    tree, house, window, door, text
"""

# What pictures show whatever their labels are: COCO's 80 objects and the commonest
# "stuff". A label must compare well with them to be in a picture.
NEGATIVES: Final = tuple(" ".join(_NEGATIVES.split()).split(", "))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Logistic regressions: probability = 1 / (1 + exp(-(bias + weights . evidence))).

    Attributes:
        negatives: words that stand for whatever else a picture may show.
        by_text: bias and weight of the image-text margin, in nats of the image-text
            model's own softmax: how far a label is behind the best of all labels
            and negatives.
        by_text_and_maps: bias, weight of the margin, and weight of the log-odds of
            `modes.FastReading.evidence`; None where the maps of a model were not
            calibrated, and say nothing then.
    """

    negatives: tuple[str, ...] = NEGATIVES
    # Not fitted: a label is taken for present up to 5 nats behind the best word. A
    # region to delete costs an annotator less than one to draw.
    by_text: tuple[float, float] = (2.5, 0.5)
    by_text_and_maps: tuple[float, float, float] | None = None


def load_calibration(source: ModelSource) -> Calibration:
    """Read a model's `presence.json`, or take the defaults where it has none.

    Raises:
        WeightsNotFound: if the file is there and cannot be read.
    """
    path = Path(source.location) / _FILE
    if not source.is_directory or not path.is_file():
        return Calibration()
    try:
        fields = json.loads(path.read_text("utf-8"))
        maps = fields.get("by_text_and_maps")
        return Calibration(
            negatives=tuple(str(word) for word in fields["negatives"]),
            by_text=_numbers(fields["by_text"], 2),  # type: ignore[arg-type]
            by_text_and_maps=None if maps is None else _numbers(maps, 3),  # type: ignore[arg-type]
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsNotFound(
            source.location, f"{_FILE} cannot be read ({error})"
        ) from error


def _numbers(values: Sequence[float], count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} numbers where {count} are expected")
    return numbers
