"""How well a bundled model paints the words of scenes."""

from collections.abc import Sequence

from segmenter.evaluation.counts import IouCounts, to_class_map
from segmenter.pocket.scenes import Scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter


def mean_iou(segmenter: Segmenter, scenes: Sequence[Scene]) -> float:
    """Of all words and the background, each scene asked for its own words."""
    counts = IouCounts(1 + len(WORDS))
    cut = segmenter.segment(
        [scene.image for scene in scenes], [scene.words for scene in scenes]
    )
    for scene, segmentation in zip(scenes, cut, strict=True):
        counts.add(scene.class_map, to_class_map(segmentation, WORDS))
    return counts.mean()
