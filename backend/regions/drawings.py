"""What Label Studio stores of an annotation in, the regions drawn on its images out.

The way back from `results.py`. An annotation's `result` is a list of results, of which
those with one id are one region: a tool's and its `<Labels>`'s, remarks of a person
about it, and, after a click with a smart tool, a key point that bears the mask of the
region beside it as if it were its own. Pure.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from backend.errors import BadMask
from backend.regions.control_tags import (
    ControlTag,
    Corners,
    Mask,
    Value,
    control_tags,
)
from backend.regions.polygons import winding_numbers
from segmenter import MAX_IMAGE_PIXELS

Result: TypeAlias = Mapping[str, Any]

_LABELS: Final = "labels"


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnRegion:
    """One region of an annotation.

    Attributes:
        id: unique in the annotation.
        labels: its labels, each once; none if the person gave it none.
        to_name: the `<Image>` that it is drawn on.
        item_index: page of a multi-page image, counted from 0; 0 for others.
        size_yx: (rows, columns) of the image, as the browser showed it.
        tag: what it was drawn with.
    """

    id: str
    labels: tuple[str, ...]
    to_name: str
    item_index: int
    size_yx: tuple[int, int]
    tag: ControlTag
    _value: Value

    def mask(self) -> Mask:
        """What it covers: bool (Y, X), cut at half of full where it is half there.

        Raises:
            BadMask: if what is stored cannot be read.
        """
        assert self.tag.decode is not None
        return self.tag.decode(self._value, self.size_yx)

    def ring(self) -> Corners | None:
        """One ring of points that encloses just its mask, by any program's rule.

        Returns:
            float64 (n, 2), (x, y) in pixels, within the image, the first not repeated.
            None for what was not drawn by corners, or so that programs disagree about
            its inside: with corners beside the image, or running twice around a pixel.

        Raises:
            BadMask: if what is stored cannot be read.
        """
        if self.tag.corners is None:
            return None
        ring = self.tag.corners(self._value, self.size_yx)
        rows, columns = self.size_yx
        if not ((ring >= 0) & (ring <= (columns, rows))).all():
            return None
        is_simple = np.abs(winding_numbers(ring, self.size_yx)).max() <= 1
        return ring if is_simple else None


def drawn_regions(
    results: Iterable[Any],
) -> tuple[list[DrawnRegion], Mapping[str, int]]:
    """Read an annotation's results; no mask is decoded yet.

    Args:
        results: the `result` of an annotation or prediction.

    Returns:
        The regions in their order, which is the one that the editor paints them in,
        and how many of what other types there are, such as "ellipselabels": 2.

    Raises:
        BadMask: if a region does not say what and where it is.
    """
    groups: dict[str | int, list[Result]] = {}
    for number, result in enumerate(results):
        if not isinstance(result, Mapping):
            raise BadMask(
                f"Result {number} of the annotation is a {type(result).__name__}; "
                f"results are objects."
            )
        key = str(result["id"]) if result.get("id") else number
        groups.setdefault(key, []).append(result)
    regions: list[DrawnRegion] = []
    others: Counter[str] = Counter()
    readers = _readers()
    for group in groups.values():
        drawing = next((one for one in group if one.get("type") in readers), None)
        if drawing is not None:
            regions.append(_region(drawing, group, readers[drawing["type"]]))
        else:
            others[str(group[0].get("type"))] += 1
    return regions, others


def _readers() -> Mapping[str, ControlTag]:
    """Tags by the types of the results that they can read."""
    return {kind: tag for tag in control_tags().values() for kind in tag.kinds_read}


def _region(drawing: Result, group: Sequence[Result], tag: ControlTag) -> DrawnRegion:
    value = drawing.get("value")
    turned_by = drawing.get("image_rotation") or 0
    if not isinstance(value, Mapping):
        raise BadMask(f"The region {_named(drawing)} has no value. Draw it anew.")
    if turned_by:
        raise BadMask(
            f"The region {_named(drawing)} was drawn on a picture turned by "
            f"{turned_by} degrees in the editor, which is not read. Turn the picture "
            f"back and draw it anew."
        )
    return DrawnRegion(
        id=str(drawing.get("id") or ""),
        labels=tuple(dict.fromkeys(_labels(group, tag))),
        to_name=str(drawing.get("to_name") or ""),
        item_index=_whole_number(drawing, "item_index", least=0),
        size_yx=_size_yx(drawing),
        tag=tag,
        _value=value,
    )


def _labels(group: Sequence[Result], tag: ControlTag) -> Iterable[str]:
    for result in group:
        kind, value = result.get("type"), result.get("value")
        if kind not in (tag.labels_type, _LABELS) or not isinstance(value, Mapping):
            continue
        names = value.get(kind)
        yield from map(str, names if isinstance(names, list) else [])


def _size_yx(drawing: Result) -> tuple[int, int]:
    rows = _whole_number(drawing, "original_height", least=1)
    columns = _whole_number(drawing, "original_width", least=1)
    if rows * columns > MAX_IMAGE_PIXELS:
        raise BadMask(
            f"The region {_named(drawing)} says that its image has {rows} x {columns} "
            f"pixels; the limit is {MAX_IMAGE_PIXELS:,} in all."
        )
    return rows, columns


def _whole_number(drawing: Result, name: str, *, least: int) -> int:
    number = drawing.get(name, 0)
    if not isinstance(number, int) or number < least:
        raise BadMask(
            f"The region {_named(drawing)} has {name} {str(number)[:20]!r}; it must be "
            f"a whole number from {least} on. Draw it anew."
        )
    return number


def _named(drawing: Result) -> str:
    return repr(str(drawing.get("id") or "")[:20])
