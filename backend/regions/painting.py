"""Score maps and a control in, its regions out. Pure.

One inference serves every control on an image: each cuts the same maps its own way
and draws its own shape.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backend.regions.components import Part, clean, parts
from backend.regions.control_maps import maps_of_labels
from backend.regions.control_tags import control_tags
from backend.regions.estimates import Estimates
from backend.regions.results import region_id, write_region
from backend.types import Control
from segmenter import Heads, LabelMask, ScoreMaps, iter_masks

logger = logging.getLogger(__name__)

# Labels that a log line names before it breaks off.
_MOST_NAMED: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """What is painted on.

    Attributes:
        task_id: None when the request held none.
        item_index: page of a multi-page image, counted from 0; else None.
        occasion: tells the regions of one answer from those of all others; None where
            the same question is to have the same regions.
        pixels: uint8 (Y, X, 3), the image, whose edges masks may follow.
    """

    task_id: int | None
    pixels: NDArray[np.uint8]
    item_index: int | None = None
    occasion: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """One region to be, before the cap.

    Attributes:
        index: of its label.
        shape: what it covers.
        area_px: of it.
        share_01: of the label's estimate that is its own: 1, less for a part whose
            scores are lower than those of another.
        number: of a part, else None.
    """

    index: int
    shape: Part
    area_px: int
    share_01: float
    number: int | None


def paint(
    control: Control, maps: ScoreMaps, canvas: Canvas, heads: Heads | None = None
) -> list[dict[str, Any]]:
    """Cut one control's regions out of an image's score maps.

    Args:
        control: with at least one label.
        maps: whose labels are prompts, all of the control's among them.
        canvas: names the regions.
        heads: what was learned of the labels; see `maps_of_labels`.

    Returns:
        Regions in the order of the labels, the largest of each first, scored by the
        IoU that they are likely to have. Two results with one id for every region of a
        `<Labels>` control.
    """
    cut, labels = control.cut, control.labels
    presence_thresholds = [label.presence_threshold_01 for label in labels]
    own = maps_of_labels(control, maps, heads)
    estimates = Estimates(own, cut.overlap)
    found = [
        region
        for mask in iter_masks(
            own,
            threshold=cut.threshold_01,
            label_thresholds=[label.threshold_01 for label in labels],
            presence_threshold=cut.presence_threshold_01,
            label_presence_thresholds=presence_thresholds,
            pixels=canvas.pixels if cut.boundaries == "guided" else None,
            overlap=cut.overlap,
        )
        if labels[mask.index].is_drawn
        for region in _regions_of(control, mask, estimates)
    ]
    if not found:
        _log_nothing_found(control, own, canvas)
    ious_01 = estimates.ious_01()
    return [
        result
        for region in _largest(found, control, canvas)
        for result in write_region(
            region.shape,
            control=control,
            label=labels[region.index],
            size_yx=maps.size_yx,
            score=float(ious_01[region.index]) * region.share_01,
            region_id=_id_of(region, control, canvas),
            item_index=canvas.item_index,
        )
    ]


def _regions_of(
    control: Control, mask: LabelMask, estimates: Estimates
) -> Iterator[_Found]:
    top, left, bottom, right = mask.box_yxyx
    place = slice(top, bottom), slice(left, right)
    cleaned = clean(
        mask.mask[place],
        min_area_px=control.cut.min_area_01 * mask.mask.size,
        fillable=mask.free[place],
    )
    area_px = int(np.count_nonzero(cleaned))
    if not area_px:
        return
    scores = mask.scores[place]
    whole = Part(box_yxyx=mask.box_yxyx, pixels=cleaned, area_px=area_px)
    estimates.add(mask.index, whole, scores)
    is_split = (
        control.cut.regions == "part"
        or control_tags()[control.shape].one_region_per_part
    )
    if not is_split:
        yield _Found(
            index=mask.index, shape=whole, area_px=area_px, share_01=1.0, number=None
        )
        return
    found = parts(cleaned)
    means = [_mean(scores, part) for part in found]
    highest = max(means) or 1.0
    for number, (part, mean) in enumerate(zip(found, means, strict=True)):
        yield _Found(
            index=mask.index,
            shape=part.moved_by(top, left),
            area_px=part.area_px,
            share_01=mean / highest,
            number=number,
        )


def _largest(found: Sequence[_Found], control: Control, canvas: Canvas) -> list[_Found]:
    """At most `max_regions`, in their order."""
    limit = control.cut.max_regions
    if len(found) <= limit:
        return list(found)
    logger.warning(
        "Task %s: %d regions were found for %s; the %d largest are kept. "
        "model_max_regions or MAX_REGIONS raises the limit, model_min_area or "
        "MIN_AREA drops small ones.",
        canvas.task_id,
        len(found),
        control.from_name,
        limit,
    )
    by_area = sorted(range(len(found)), key=lambda place: -found[place].area_px)
    return [found[place] for place in sorted(by_area[:limit])]


def _id_of(region: _Found, control: Control, canvas: Canvas) -> str:
    """The same for the same question, and another for every region of a task."""
    name: list[object] = [
        canvas.task_id,
        control.from_name,
        control.image.name,
        control.labels[region.index].name,
    ]
    if control.labels_from_name is not None:
        name.append(["labels", control.labels_from_name])
    if canvas.item_index is not None:
        name.append(["page", canvas.item_index])
    if region.number is not None:
        name.append(["part", region.number])
    if canvas.occasion is not None:
        name.append(["occasion", canvas.occasion])
    return region_id(*name)


def _mean(scores: NDArray[np.float32], part: Part) -> float:
    top, left, bottom, right = part.box_yxyx
    inside = scores[top:bottom, left:right][part.pixels]
    return float(np.clip(inside.mean(dtype=np.float64), 0, 1))


def _log_nothing_found(control: Control, maps: ScoreMaps, canvas: Canvas) -> None:
    """Say what was asked for, and how near the best came."""
    drawn = [index for index, label in enumerate(control.labels) if label.is_drawn]
    labels = [control.labels[index] for index in drawn]
    asked = [
        f"{label.name!r}"
        + (f" as {', '.join(map(repr, prompts))}" if prompts != (label.name,) else "")
        for label in labels[:_MOST_NAMED]
        if (prompts := label.prompts)
    ]
    more = len(labels) - len(asked)
    # Of those that are there, if any is: what is not there has a best spot as well.
    lines = [control.presence_threshold_of(label) for label in labels]
    presence, peaks = maps.presence[drawn], maps.peaks[drawn]
    best = int(np.where(presence >= lines, peaks + 1, presence).argmax())
    label = labels[best]
    logger.info(
        "Task %s: nothing found for %s. Asked for %s%s. Best was %r, in the picture "
        "with %.2f (needs %.2f), at its best spot with %.2f (needs %.2f); the smallest "
        "area is %.4f of the image.",
        canvas.task_id,
        control.from_name,
        ", ".join(asked),
        f" and {more} more" if more else "",
        label.name,
        presence[best],
        lines[best],
        peaks[best],
        control.threshold_of(label),
        control.cut.min_area_01,
    )
