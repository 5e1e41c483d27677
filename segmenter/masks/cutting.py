"""Score maps in, one labelled picture out. Pure; no torch.

Cutting is cheap and repeatable: a new threshold needs no model. Memory does not
grow with the number of labels, because only the running best is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from segmenter.masks.competition import Competition, Winners
from segmenter.types import LabelMask, ScoreMaps, Segmentation

# Looked at together: they stay in the processor's cache.
_STRIP_PX: Final = 1 << 16


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
    found = _cut(Competition(score_maps, pixels), present, limits)
    label_map = found.owners
    label_map -= 1
    return Segmentation(
        labels=score_maps.labels,
        label_map=label_map,
        scores=_mean_scores(found.scores, label_map, len(limits)),
        presence=score_maps.presence,
        best=found.peaks,
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
    competition = Competition(score_maps, pixels)
    rounds = [present] if overlap == "exclusive" else [[index] for index in present]
    for labels in rounds:
        found = _cut(competition, labels, limits)
        free = found.owners == 0
        for index in labels:
            box_yxyx = _box(found, index)
            top, left, bottom, right = box_yxyx
            place = slice(top, bottom), slice(left, right)
            mask = np.zeros(found.owners.shape, np.bool_)
            np.equal(found.owners[place], index + 1, out=mask[place])
            if mask[place].any():
                yield LabelMask(
                    index=index,
                    mask=mask,
                    scores=found.scores,
                    free=free,
                    box_yxyx=box_yxyx,
                )


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
    found = Competition(score_maps, pixels).winners(present)
    label_map = found.owners
    label_map -= 1
    return label_map, found.scores


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


def _cut(
    competition: Competition, labels: Sequence[int], limits: Sequence[float]
) -> Winners:
    """The winners among these labels, owners without what is below their limits."""
    own = np.array([np.inf, *limits], np.float32)
    lowest = own.min()
    found = competition.winners(labels, float(lowest))
    is_common = bool((own[1:] == lowest).all())
    step = max(1, _STRIP_PX // found.owners.shape[1])
    for top in range(0, len(found.owners), step):
        owners = found.owners[top : top + step]
        if owners.any():
            limit = lowest if is_common else own[owners]
            np.copyto(owners, 0, where=found.scores[top : top + step] <= limit)
    return found


def _box(found: Winners, index: int) -> tuple[int, int, int, int]:
    top, left, bottom, right = found.boxes_yxyx[index].tolist()
    return top, left, bottom, right


def _mean_scores(
    best: NDArray[np.float32], label_map: NDArray[np.int16], n_labels: int
) -> NDArray[np.float32]:
    inside = label_map >= 0
    owners = label_map[inside]
    totals = np.bincount(owners, weights=best[inside], minlength=n_labels)
    counts = np.bincount(owners, minlength=n_labels)
    return np.asarray(totals / np.maximum(counts, 1), np.float32)
