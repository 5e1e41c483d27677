"""Score maps in, one labelled picture out. Pure; no torch.

Cutting is cheap and repeatable: a new threshold needs no model. Memory does not
grow with the number of labels, because only the running best is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.masks.boundaries import Guide
from segmenter.types import LabelMask, ScoreMaps, Segmentation

_Enlarge = Callable[[NDArray[np.float16]], NDArray[np.float32]]

# A map that spans less is constant: no evidence of anything.
_LEAST_SPAN = 1e-6


def cut_masks(
    score_maps: ScoreMaps,
    *,
    threshold: float,
    label_thresholds: Sequence[float | None] | None = None,
    presence_threshold: float = 0.5,
    label_presence_thresholds: Sequence[float | None] | None = None,
    pixels: NDArray[np.uint8] | None = None,
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
        presence_threshold: labels with less presence are left out; 0.5 is the
            filter's own threshold.
        label_presence_thresholds: as `label_thresholds`.
        pixels: uint8 (Y, X, 3), the image, whose edges the masks' are to follow (see
            `boundaries`); None leaves them as the maps have them, as published.

    Raises:
        ValueError: if thresholds are given for another number of labels.
    """
    limits = _limits(score_maps, threshold, label_thresholds)
    present = _present(score_maps, presence_threshold, label_presence_thresholds)
    enlarge = _enlarger(score_maps, pixels)
    label_map, best, peaks = _cut(score_maps, limits, present, enlarge)
    return Segmentation(
        labels=score_maps.labels,
        label_map=label_map,
        scores=_mean_scores(best, label_map, len(limits)),
        presence=score_maps.presence,
        best=peaks,
    )


def iter_masks(
    score_maps: ScoreMaps,
    *,
    threshold: float,
    label_thresholds: Sequence[float | None] | None = None,
    presence_threshold: float = 0.5,
    label_presence_thresholds: Sequence[float | None] | None = None,
    pixels: NDArray[np.uint8] | None = None,
    overlap: Literal["exclusive", "independent"] = "exclusive",
) -> Iterator[LabelMask]:
    """Cut one mask after the other; labels with no pixel are left out.

    Args:
        score_maps: of one image.
        threshold: as for `cut_masks`.
        label_thresholds: as for `cut_masks`.
        presence_threshold: as for `cut_masks`.
        label_presence_thresholds: as for `cut_masks`.
        pixels: as for `cut_masks`.
        overlap: "exclusive" cuts as `cut_masks` does; "independent" gives a label
            every pixel above its threshold, whatever the others say.

    Raises:
        ValueError: if thresholds are given for another number of labels.
    """
    limits = _limits(score_maps, threshold, label_thresholds)
    present = _present(score_maps, presence_threshold, label_presence_thresholds)
    enlarge = _enlarger(score_maps, pixels)
    if overlap == "exclusive":
        label_map, best, _ = _cut(score_maps, limits, present, enlarge)
        free = label_map < 0
        for index in np.unique(label_map[~free]).tolist():
            yield LabelMask(
                index=index, mask=label_map == index, scores=best, free=free
            )
        return
    for index in present:
        scores = enlarge(score_maps.maps[index])
        mask = scores > np.float32(limits[index])
        if mask.any():
            yield LabelMask(index=index, mask=mask, scores=scores, free=~mask)


def find_winners(
    score_maps: ScoreMaps,
    *,
    presence_threshold: float = 0.5,
    pixels: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Give every pixel its best label before any threshold.

    Which label is best does not depend on a threshold that all labels share, so from
    these two the masks at every such threshold follow: `cut_masks` leaves to the
    background what scores no more than float32 of it.

    Args:
        score_maps: of one image.
        presence_threshold: as for `cut_masks`.
        pixels: as for `cut_masks`.

    Returns:
        int16 (Y, X), index into the labels, -1 where none scores above 0; and
        float32 (Y, X) in [0, 1], that label's score.
    """
    present = _present(score_maps, presence_threshold, None)
    label_map, best, _ = _compete(score_maps, present, _enlarger(score_maps, pixels))
    return label_map, best


def merge_prompts(
    score_maps: ScoreMaps,
    prompts_of: Sequence[tuple[str, Sequence[str]]],
    *,
    presence_threshold: float = 0.5,
    label_presence_thresholds: Sequence[float | None] | None = None,
) -> ScoreMaps:
    """Gather the maps of each label's prompts into one map per label.

    What any of its prompts finds is the label's: the highest score counts, of the
    map and of the presence. A prompt with less presence than the threshold says
    nothing as long as another one has more.

    Args:
        score_maps: whose labels are prompts, each once.
        prompts_of: pairs of a label's name and its prompts, at least one.
        presence_threshold: as for `cut_masks`.
        label_presence_thresholds: one per label of the result, or None.

    Raises:
        ValueError: if a prompt is not among the labels of `score_maps`, or
            thresholds are given for another number of labels.
    """
    thresholds = _or_common(
        len(prompts_of), presence_threshold, label_presence_thresholds
    )
    maps = np.zeros((len(prompts_of), *score_maps.maps.shape[1:]), np.float16)
    presence = np.zeros(len(prompts_of), np.float32)
    for row, (_, prompts) in enumerate(prompts_of):
        indices = np.array([score_maps.labels.index(prompt) for prompt in prompts])
        found = score_maps.presence[indices]
        presence[row] = found.max()
        counts = found >= min(thresholds[row], presence[row])
        maps[row] = score_maps.maps[indices[counts]].max(axis=0)
    return replace(
        score_maps,
        labels=tuple(name for name, _ in prompts_of),
        maps=maps,
        presence=presence,
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
    return stretch(large)


def stretch(large: NDArray[np.float32]) -> NDArray[np.float32]:
    """Min-max to [0, 1]; zeros for a constant map."""
    low, high = float(large.min()), float(large.max())
    if high - low < _LEAST_SPAN:
        # A picture of one pixel has one value: what the map holds on average.
        return np.full(large.shape, high if large.size == 1 else 0.0, np.float32)
    stretched: NDArray[np.float32] = np.subtract(large, low, dtype=np.float32)
    stretched /= np.float32(high - low)
    return stretched


def _limits(
    score_maps: ScoreMaps, threshold: float, own: Sequence[float | None] | None
) -> list[float]:
    """One threshold per label."""
    return _or_common(len(score_maps.labels), threshold, own)


def _or_common(
    n_labels: int, common: float, own: Sequence[float | None] | None
) -> list[float]:
    own = [None] * n_labels if own is None else own
    if len(own) != n_labels:
        raise ValueError(f"{len(own)} thresholds were given for {n_labels} labels.")
    return [common if limit is None else limit for limit in own]


def _present(
    score_maps: ScoreMaps, common: float, own: Sequence[float | None] | None
) -> list[int]:
    thresholds = np.array(_or_common(len(score_maps.labels), common, own), np.float32)
    found: list[int] = np.flatnonzero(score_maps.presence >= thresholds).tolist()
    return found


def _enlarger(score_maps: ScoreMaps, pixels: NDArray[np.uint8] | None) -> _Enlarge:
    """What brings a map to image size, ready for all labels."""
    if pixels is None:
        return lambda score_map: upsample(score_map, score_maps.size_yx)
    if pixels.shape != (*score_maps.size_yx, 3):
        raise ValueError(
            f"The image is {pixels.shape} and the scores are of one of "
            f"{score_maps.size_yx}; pass the image that was scored."
        )
    guide = Guide(pixels)
    return lambda score_map: stretch(guide.follow(score_map))


def _cut(
    score_maps: ScoreMaps,
    limits: Sequence[float],
    present: Sequence[int],
    enlarge: _Enlarge,
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
    """Label map (Y, X), score of each pixel's best label (Y, X), peaks (L,)."""
    label_map, best, peaks = _compete(score_maps, present, enlarge)
    # -1 picks the appended limit: background stays background.
    own_limit = np.array([*limits, np.inf], np.float32)[label_map]
    label_map[best <= own_limit] = -1
    return label_map, best, peaks


def _compete(
    score_maps: ScoreMaps, present: Sequence[int], enlarge: _Enlarge
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
    """As `_cut`, with no background but where no label scores above 0."""
    best = np.zeros(score_maps.size_yx, np.float32)
    label_map = np.full(score_maps.size_yx, -1, np.int16)
    peaks = np.zeros(len(score_maps.labels), np.float32)
    for index in present:
        scores = enlarge(score_maps.maps[index])
        peaks[index] = scores.max()
        wins = scores > best
        best[wins] = scores[wins]
        label_map[wins] = index
    return label_map, best, peaks


def _mean_scores(
    best: NDArray[np.float32], label_map: NDArray[np.int16], n_labels: int
) -> NDArray[np.float32]:
    inside = label_map >= 0
    owners = label_map[inside]
    totals = np.bincount(owners, weights=best[inside], minlength=n_labels)
    counts = np.bincount(owners, minlength=n_labels)
    return np.asarray(totals / np.maximum(counts, 1), np.float32)
