"""What is stored of an annotation, however damaged, in; what a person sees there out.

For one who clicks: regions by their ids, each with what else it bears. Other than in
`drawings.py` a region that cannot be read is left out, and so is nothing else for it.
Pure.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from backend.errors import BadMask
from backend.regions.control_tags import Mask
from backend.regions.drawings import DrawnRegion, drawn_regions

_ABOUT: Final = ("meta", "parentID")


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenRegion:
    """One region as a person sees it.

    Attributes:
        id: unique in the annotation.
        from_name: of the tag that it is drawn with.
        labels: its labels, each once.
        to_name: the image.
        item_index: page of a multi-page image; 0 for others.
        size_yx: (rows, columns) of the image.
        beside: further results of the region, such as a choice that somebody made about
            it, which end with it where another of its id is accepted.
        about: further fields of the region, such as a remark.
        content: names what is stored of it; another after each change.
    """

    id: str
    from_name: str
    labels: tuple[str, ...]
    to_name: str
    item_index: int
    size_yx: tuple[int, int]
    beside: tuple[Mapping[str, Any], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""
    _drawn: DrawnRegion | None = None
    _mask: Mask | None = None

    def mask(self) -> Mask | None:
        """What it covers: bool (Y, X); None if what is stored cannot be read."""
        if self._mask is not None or self._drawn is None:
            return self._mask
        try:
            return self._drawn.mask()
        except BadMask:
            return None

    def with_mask(self, mask: Mask) -> "SeenRegion":
        """The same region, redrawn."""
        return replace(self, _mask=mask)


def seen_regions(results: Iterable[Any]) -> dict[str, SeenRegion]:
    """Read an annotation's results, or a draft's, by the ids of their regions."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if isinstance(result, Mapping) and isinstance(result.get("id"), str):
            groups.setdefault(result["id"], []).append(result)
    found = {name: _seen(group) for name, group in groups.items()}
    return {name: region for name, region in found.items() if region is not None}


def _seen(group: Sequence[Mapping[str, Any]]) -> SeenRegion | None:
    # Coordinates are of the upright picture, whatever way the person has turned it.
    upright = [{**result, "image_rotation": 0} for result in group]
    try:
        (drawn, *_), _ = drawn_regions(upright)
    # BadMask where a region says wrong things, the others where it says odd ones.
    except (BadMask, TypeError, ValueError):
        return None
    kinds = (drawn.tag.labels_type, drawn.tag.shape, *drawn.tag.tools)
    drawing = next(r for r in group if r.get("type") in kinds)
    return SeenRegion(
        id=drawn.id,
        from_name=str(drawing.get("from_name")),
        labels=drawn.labels,
        to_name=drawn.to_name,
        item_index=drawn.item_index,
        size_yx=drawn.size_yx,
        beside=tuple(r for r in group if r is not drawing and not _is_of_mask(r)),
        about={name: drawing[name] for name in _ABOUT if name in drawing},
        content=_digest(drawing),
        _drawn=drawn,
    )


def _is_of_mask(result: Mapping[str, Any]) -> bool:
    """Whether it draws or labels: such a one is written anew with the mask.

    A click with a smart tool leaves a key point that bears the mask as if its own.
    """
    return str(result.get("type")).endswith(("labels", "brush", "bitmask", "polygon"))


def _digest(drawing: Mapping[str, Any]) -> str:
    value = json.dumps(drawing.get("value"), sort_keys=True, default=str)
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
