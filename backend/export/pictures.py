"""A task and one of its annotations in, its pictures with their regions out. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import BadTask
from backend.label_config import DrawnTags, image_addresses
from backend.regions import DrawnRegion, drawn_regions
from backend.types import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """What one annotation says of one image.

    Attributes:
        address: of the image, as imported.
        item_index: its page, counted from 0; None for an image without pages.
        size_yx: (rows, columns) of the image as the browser showed it; None where
            nothing is drawn that would tell.
        regions: each with at least one label, in the order in which they are painted.
    """

    address: str
    item_index: int | None
    size_yx: tuple[int, int] | None
    regions: tuple[DrawnRegion, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One image of a data set.

    Attributes:
        stem: unique in the data set, without suffix.
        file_name: the same with its suffix, if it has one.
        address: of the image, as imported.
        task_id: of Label Studio's task.
        annotation_id: of the annotation.
        item_index: page of the task, counted from 0; None without pages.
        size_yx: (rows, columns), upright as a browser shows it.
        regions: each with at least one label, in the order in which they are painted.
    """

    stem: str
    file_name: str
    address: str
    task_id: int
    annotation_id: int
    item_index: int | None
    size_yx: tuple[int, int]
    regions: tuple[DrawnRegion, ...]

    @property
    def is_inline(self) -> bool:
        """Whether the address is the image itself."""
        return self.address.lstrip().lower().startswith("data:")


def drawings_of(
    task: Task, results: Sequence[Any], tags: DrawnTags
) -> tuple[list[Drawing], Mapping[str, int]]:
    """Divide an annotation's regions among the images of its task.

    Args:
        task: with its data as imported.
        results: the `result` of the annotation.
        tags: of the project's label config.

    Returns:
        One drawing per image, also where nothing is drawn; and how many results were
        left out, by what they are.

    Raises:
        BadTask: if the task names no image, or a region is on none of them.
        BadMask: if a region does not say what and where it is.
    """
    regions, others = drawn_regions(results)
    left_out = Counter(others)
    places: dict[tuple[str, int], list[DrawnRegion]] = {}
    addresses: dict[tuple[str, int], tuple[int | None, str]] = {}
    for image in tags.images.values():
        for index, address in image_addresses(image, task.data):
            addresses[image.name, index or 0] = (index, address)
            places[image.name, index or 0] = []
    if not places:
        names = ", ".join(repr(image.value) for image in tags.images.values())
        raise BadTask(
            f"The task's data has no image in {names}, where the label config looks."
        )
    for region in regions:
        if not region.labels:
            left_out["region without a label"] += 1
            continue
        place = (region.to_name, region.item_index)
        if place not in places:
            raise BadTask(
                f"The region {region.id!r} is drawn on page {region.item_index} of "
                f"<Image name={region.to_name!r}>, which the task does not have now. "
                f"Was the label config changed?"
            )
        places[place].append(region)
    drawings = [
        Drawing(
            address=addresses[place][1],
            item_index=addresses[place][0],
            size_yx=_common_size(found),
            regions=tuple(found),
        )
        for place, found in places.items()
    ]
    return drawings, left_out


def _common_size(regions: Sequence[DrawnRegion]) -> tuple[int, int] | None:
    sizes = list(dict.fromkeys(region.size_yx for region in regions))
    if len(sizes) > 1:
        raise BadTask(
            f"Regions of one image say that it has {sizes[0][0]} x {sizes[0][1]} and "
            f"{sizes[1][0]} x {sizes[1][1]} pixels (rows x columns). Was the image "
            f"replaced? Draw the older ones anew."
        )
    return sizes[0] if sizes else None
