"""Score maps in, one labelled picture out. Pure; numpy and Pillow only.

Cutting is cheap and repeatable: a new threshold needs no model. Memory does not
grow with the number of labels, because only the running best is kept.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.values import ScoreMaps, Segmentation


def cut_masks(
    score_maps: ScoreMaps,
    *,
    threshold: float,
    label_thresholds: Sequence[float | None] | None = None,
    presence_threshold: float = 1.0,
) -> Segmentation:
    """Give every pixel its best label, or the background.

    The paper's rule: background is a constant score, the pixel goes to the
    highest. A label that the presence filter ruled out takes part in nothing.

    Args:
        score_maps: of one image.
        threshold: the background's score, in (0, 1).
        label_thresholds: one per label where a label has its own, None for the
            common one. A pixel below its best label's own threshold is
            background, whatever the second best says.
        presence_threshold: labels with less presence are left out; 1 is the
            filter's own verdict.

    Raises:
        ValueError: if `label_thresholds` has another length than the labels.
    """
    limits = [threshold if t is None else t for t in label_thresholds or []]
    if not limits:
        limits = [threshold] * len(score_maps.labels)
    if len(limits) != len(score_maps.labels):
        raise ValueError(
            f"{len(limits)} thresholds were given for {len(score_maps.labels)} labels."
        )
    best = np.zeros(score_maps.size_yx, np.float32)
    label_map = np.full(score_maps.size_yx, -1, np.int16)
    peaks = np.zeros(len(limits), np.float32)
    for index in np.flatnonzero(score_maps.presence >= presence_threshold):
        pixels = upsample(score_maps.maps[index], score_maps.size_yx)
        peaks[index] = pixels.max()
        wins = pixels > best
        best[wins] = pixels[wins]
        label_map[wins] = index
    # -1 picks the appended limit: background stays background.
    own_limit = np.array([*limits, np.inf], np.float32)[label_map]
    label_map[best <= own_limit] = -1
    return Segmentation(
        labels=score_maps.labels,
        label_map=label_map,
        scores=_mean_scores(best, label_map, len(limits)),
        presence=score_maps.presence,
        best=peaks,
    )


def upsample(
    score_map: NDArray[np.float16], size_yx: tuple[int, int]
) -> NDArray[np.float32]:
    """Bilinear to image size, then stretched to [0, 1]: float32 (Y, X).

    A constant map stays what it is not: evidence. It comes back as zeros.
    """
    rows, columns = size_yx
    small = Image.fromarray(score_map.astype(np.float32))
    large = np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR))
    low, high = float(large.min()), float(large.max())
    if high - low < 1e-6:
        # A picture of one pixel has one value: what the map holds on average.
        return np.full(size_yx, high if large.size == 1 else 0.0, np.float32)
    return np.asarray((large - low) / (high - low), np.float32)


def _mean_scores(
    best: NDArray[np.float32], label_map: NDArray[np.int16], n_labels: int
) -> NDArray[np.float32]:
    inside = label_map >= 0
    owners = label_map[inside]
    totals = np.bincount(owners, weights=best[inside], minlength=n_labels)
    counts = np.bincount(owners, minlength=n_labels)
    return np.asarray(totals / np.maximum(counts, 1), np.float32)
