"""Results of annotations, and pictures of a data set, to export."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backend.export.pictures import Picture
from backend.regions import drawn_regions, parts
from backend.regions.results import write_region
from backend.types import Control, CutOptions, ImageTag, Label


def region(
    mask: np.ndarray,
    label: str = "dog",
    *,
    shape: str = "brush",
    region_id: str = "r1",
    to_name: str = "photo",
    **changes: Any,
) -> dict[str, Any]:
    """One result as `preannotate` stores it; of a polygon the mask's largest part."""
    named = Label(name=label, prompts=(label,))
    control = Control(
        from_name="tag",
        image=ImageTag(name=to_name, value="$image"),
        shape=shape,
        labels=(named,),
        cut=CutOptions(threshold_01=0.5, polygon_tolerance_01=0),
        mode="fast",
    )
    (result,) = write_region(
        parts(mask)[0] if shape in ("polygon", "rectangle") else mask,
        control=control,
        label=named,
        size_yx=(mask.shape[0], mask.shape[1]),
        score=0.9,
        region_id=region_id,
    )
    return {**result, "origin": "manual", **changes}


def picture(
    results: Sequence[Mapping[str, Any]],
    size_yx: tuple[int, int],
    *,
    stem: str = "photo",
    suffix: str = ".jpg",
) -> Picture:
    """One picture of a data set with the regions that these results are."""
    regions, _ = drawn_regions(results)
    return Picture(
        stem=stem,
        file_name=f"{stem}{suffix}",
        address=f"/data/upload/1/{stem}{suffix}",
        task_id=7,
        annotation_id=8,
        item_index=None,
        size_yx=size_yx,
        regions=tuple(regions),
    )
