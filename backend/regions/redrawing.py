"""An object's mask in, the region in place of what is drawn of it out. Pure.

The editor replaces a region by an accepted one of its id, with all that it bears; so
whatever a person has said about it is written anew beside the mask.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.regions.components import Part, parts
from backend.regions.control_tags import Mask, control_tags
from backend.regions.results import region_id, write_region
from backend.regions.seen import SeenRegion
from backend.types import Control, Label


def new_region_id(
    *,
    task_id: int | None,
    control: Control,
    label: Label,
    item_index: int,
    place: Sequence[float],
    taken: Mapping[str, Any],
) -> str:
    """Name an object that nothing is drawn of yet, after where it was shown first.

    Args:
        task_id: None when the request held none.
        control: that draws it.
        label: of the object.
        item_index: page of a multi-page image; 0 for others.
        place: of the first click or box, in percent.
        taken: ids of regions that are others.
    """
    name: list[object] = [
        task_id,
        control.from_name,
        control.image.name,
        label.name,
        ["page", item_index],
        ["clicked", *(round(number, 3) for number in place)],
    ]
    found = region_id(*name)
    while found in taken:
        name.append("another")
        found = region_id(*name)
    return found


def redraw(
    mask: Mask,
    *,
    control: Control,
    label: Label,
    region_id: str,
    score: float,
    item_index: int | None,
    at_yx: tuple[int, int] | None,
    before: SeenRegion | None,
) -> list[dict[str, Any]]:
    """Write an object's region, which is one whatever its parts.

    Args:
        mask: bool (Y, X), with at least one pixel.
        control: that draws it. Where a region has one outline, one part is drawn.
        label: of the object.
        region_id: of the object.
        score: shown beside it, in [0, 1].
        item_index: page of a multi-page image, None for an image without pages.
        at_yx: the pixel that the part is chosen by; None for the largest.
        before: what is drawn of it, None if there is nothing.

    Raises:
        BadMask: if the mask cannot be encoded.
    """
    size_yx = (mask.shape[0], mask.shape[1])
    shape: Part | Mask = mask
    if control_tags()[control.shape].one_region_per_part:
        shape = _part_at(mask, at_yx)
    drawn = write_region(
        shape,
        control=control,
        label=label,
        size_yx=size_yx,
        score=score,
        region_id=region_id,
        item_index=item_index,
    )
    if before is None:
        return drawn
    for result in drawn:
        result.update(before.about)
        names = result["value"].get(result["type"])
        if names is not None and label.name in before.labels:
            names[:] = before.labels
    return [*drawn, *(_moved_along(result, drawn[0]) for result in before.beside)]


def _part_at(mask: Mask, at_yx: tuple[int, int] | None) -> Part:
    found = parts(mask)
    if at_yx is not None:
        for part in found:
            y0, x0, y1, x1 = part.box_yxyx
            y, x = at_yx
            if y0 <= y < y1 and x0 <= x < x1 and part.pixels[y - y0, x - x0]:
                return part
    return found[0]


def _moved_along(result: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody said about the region, with the region's new form."""
    value = result.get("value")
    own = {} if not isinstance(value, Mapping) else value
    form = dict(drawn["value"])
    form.pop(drawn["type"], None)
    said = {k: v for k, v in own.items() if k not in {*form, "touches", "maskDataURL"}}
    kept = {name: field for name, field in result.items() if name != "score"}
    return {**kept, "value": form | said}
