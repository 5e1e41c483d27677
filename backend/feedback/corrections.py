"""An annotation and what it began with in, what became of each region out; its masks.

Only labels that the label config has us look for are spoken of. A region that cannot be
read costs itself, and what the image shows of its labels is then not known. Pure.

Axis letters: Y, X  image pixels.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backend.errors import BadMask
from backend.feedback.types import RegionOutcome
from backend.regions import SeenRegion, control_tags, seen_regions
from backend.types import Control

logger = logging.getLogger(__name__)

Mask: TypeAlias = NDArray[np.bool_]
# Name of an `<Image>`, and page of it; 0 without pages.
Place: TypeAlias = tuple[str, int]

# Each is decoded at the size of the image: nobody draws so many, and a forged event
# would keep a core busy for an hour.
_MOST_REGIONS: Final = 1000
_UNTOUCHED: Final = "prediction"


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """What a person says of one image.

    Attributes:
        masks: bool (Y, X) by label: all that was drawn with it.
        unknown: labels of which it is not known where they are, or whether.
    """

    masks: Mapping[str, Mask] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What an annotation says.

    Attributes:
        outcomes: of its regions in their order, then of those that were deleted.
        drawings: by image; one that is not there has none of our labels.
    """

    outcomes: tuple[RegionOutcome, ...]
    drawings: Mapping[Place, Drawing]


def read_annotation(
    results: Sequence[Mapping[str, Any]],
    controls: Sequence[Control],
    answered: Iterable[Mapping[str, Any]] = (),
    *,
    name: str,
) -> Reading:
    """Compare what was submitted with what was answered.

    Args:
        results: of the annotation.
        controls: what we draw with on the task's images.
        answered: results of the prediction that it began with; none where it began
            with none, or nobody knows.
        name: of the annotation, for the log.
    """
    reader = _Reader(controls, name)
    before = reader.ours(seen_regions(answered))
    outcomes = [
        outcome
        for region, origin in reader.regions(results)
        if (outcome := reader.take(region, before.get(region.id), origin)) is not None
    ]
    outcomes += [
        reader.deleted(region)
        for region in before.values()
        if region.id not in reader.submitted
    ]
    return Reading(outcomes=tuple(outcomes), drawings=reader.drawings())


class _Reader:
    """Reads one annotation, region by region."""

    def __init__(self, controls: Sequence[Control], name: str) -> None:
        self._name = name
        self._labels: dict[tuple[str, str], frozenset[str]] = {}
        for control in controls:
            key = (control.from_name, control.image.name)
            self._labels[key] = frozenset(label.name for label in control.labels)
        # Ids of what was submitted, whether it can be read or not.
        self.submitted: set[str] = set()
        self._masks: dict[Place, dict[str, Mask]] = {}
        self._unreadable: dict[Place, set[str]] = {}
        self._drawn_elsewhere: dict[Place, set[str]] = {}

    def regions(
        self, results: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[SeenRegion, str]]:
        """Regions with their origin, as far as they can be read."""
        for number, (region_id, group) in enumerate(_by_id(results).items()):
            drawing = next((r for r in group if str(r.get("type")) in _kinds()), None)
            if drawing is None:
                continue  # a label, or a remark, without a region
            self.submitted.add(region_id)
            if number >= _MOST_REGIONS:
                self._leave_out(group, "it has more regions than are read")
                continue
            region = seen_regions(group).get(region_id)
            if region is None:
                self._leave_out(group, "it cannot be read")
            else:
                yield region, str(drawing.get("origin"))

    def take(
        self, region: SeenRegion, before: SeenRegion | None, origin: str
    ) -> RegionOutcome | None:
        """What became of a region; None where it is no business of ours."""
        place = (region.to_name, region.item_index)
        ours = self._labels.get((region.from_name, region.to_name), frozenset())
        labels = [label for label in region.labels if label in ours]
        if not labels and before is None:
            self._drawn_elsewhere.setdefault(place, set()).update(region.labels)
            return None
        mask = self._mask(region, place)
        if mask is None:
            return None
        masks = self._masks.setdefault(place, {})
        for label in labels:
            masks[label] = masks[label] | mask if label in masks else mask
        named = next(iter([*labels, *region.labels]), "")
        if before is None:
            return _compared(named, None, mask)
        if not set(before.labels) & set(region.labels):
            return _compared(named, before, mask, label_before=before.labels[0])
        if origin == _UNTOUCHED:
            # Of whatever version it was: the editor says that nobody touched it.
            return RegionOutcome(
                label=named, kind="accepted", iou=1.0, added_px=0, removed_px=0
            )
        return _compared(named, before, mask)

    def deleted(self, region: SeenRegion) -> RegionOutcome:
        """What was answered and is not there any more."""
        mask = _decoded(region)
        return RegionOutcome(
            label=region.labels[0],
            kind="deleted",
            iou=0.0,
            added_px=0,
            removed_px=0 if mask is None else int(mask.sum()),
        )

    def ours(self, regions: Mapping[str, SeenRegion]) -> dict[str, SeenRegion]:
        """Those that a control of ours draws, with a label of its own."""
        return {
            name: region
            for name, region in regions.items()
            if set(region.labels)
            & self._labels.get((region.from_name, region.to_name), frozenset())
        }

    def drawings(self) -> dict[Place, Drawing]:
        """All that was read, by image.

        What people draw with a tool that we leave to them, under a label of ours, is
        there somewhere; the box that somebody asked with is not its mask.
        """
        places = {*self._masks, *self._unreadable, *self._drawn_elsewhere}
        found = {}
        for place in places:
            masks = self._masks.get(place, {})
            elsewhere = self._drawn_elsewhere.get(place, set()) - masks.keys()
            unknown = frozenset(elsewhere | self._unreadable.get(place, set()))
            known = {name: mask for name, mask in masks.items() if name not in unknown}
            found[place] = Drawing(masks=known, unknown=unknown)
        return found

    def _mask(self, region: SeenRegion, place: Place) -> Mask | None:
        sizes = {mask.shape for mask in self._masks.get(place, {}).values()}
        if sizes and region.size_yx not in sizes:
            why = f"it is of an image of {region.size_yx}, and others of {sizes.pop()}"
            mask = None
        else:
            why, mask = "its mask cannot be read", _decoded(region)
        if mask is None:
            self._note_unreadable(region.id, place, region.labels, why)
        return mask

    def _leave_out(self, group: Sequence[Mapping[str, Any]], why: str) -> None:
        page = group[0].get("item_index")
        place = (str(group[0].get("to_name")), page if isinstance(page, int) else 0)
        labels = [label for result in group for label in _labels_in(result)]
        self._note_unreadable(str(group[0].get("id")), place, labels, why)

    def _note_unreadable(
        self, region_id: str, place: Place, labels: Collection[str], why: str
    ) -> None:
        self._unreadable.setdefault(place, set()).update(labels)
        logger.warning(
            "%s: the region %r is left out: %s.", self._name, region_id[:20], why
        )


def _compared(
    label: str,
    before: SeenRegion | None,
    mask: Mask,
    *,
    label_before: str | None = None,
) -> RegionOutcome:
    """The outcome by pixels: what was answered against what was submitted."""
    was = None if before is None else _decoded(before)
    if was is None or was.shape != mask.shape:
        # Nothing that can be compared: of another size, or not to be read.
        was = np.zeros_like(mask)
    added, removed = int((mask & ~was).sum()), int((was & ~mask).sum())
    both = int((mask & was).sum())
    total = both + added + removed
    is_same = before is not None and not added and not removed
    kind: Any = "drawn" if before is None else "accepted" if is_same else "corrected"
    return RegionOutcome(
        label=label,
        kind="relabelled" if label_before is not None else kind,
        iou=1.0 if is_same else both / total if total else 0.0,
        added_px=added,
        removed_px=removed,
        label_before=label_before,
    )


def _decoded(region: SeenRegion) -> Mask | None:
    try:
        return region.mask()
    # BadMask where a region says wrong things, the others where it says odd ones.
    except (BadMask, TypeError, ValueError, OverflowError):
        return None


def _by_id(
    results: Sequence[Mapping[str, Any]],
) -> dict[str, list[Mapping[str, Any]]]:
    """Results that make up one region each; one without an id is one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for number, result in enumerate(results):
        given = result.get("id")
        name = given if isinstance(given, str) and given else f"result {number}"
        groups.setdefault(name, []).append({**result, "id": name})
    return groups


def _kinds() -> frozenset[str]:
    return frozenset(k for tag in control_tags().values() for k in tag.kinds_read)


def _labels_in(result: Mapping[str, Any]) -> Iterator[str]:
    value = result.get("value")
    names = value.get(str(result.get("type"))) if isinstance(value, Mapping) else None
    if isinstance(names, list):
        yield from (name for name in names if isinstance(name, str))
