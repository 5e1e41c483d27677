"""Stored predictions back to masks, by other code than ours where there is some; pure.

Brush streams go through Label Studio's own decoder and bitmasks through Pillow;
polygons are filled by the winding rule that the editor's canvas uses.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from PIL import Image

Region = Mapping[str, Any]


def decode_region(region: Region, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """One region of any shape as a bool mask (Y, X).

    Raises:
        ValueError: `original_*` says another size, the bitmask has another, alpha has
            values between 0 and 255, a rectangle is turned or leaves the picture,
            or the shape is unknown.
    """
    stated_yx = (region["original_height"], region["original_width"])
    if stated_yx != size_yx:
        raise ValueError(f"The region says {stated_yx}, the image is {size_yx}")
    value = region["value"]
    if "rle" in value:
        return _decode_brush(value["rle"], size_yx)
    if "imageDataURL" in value:
        return _decode_bitmask(value["imageDataURL"], size_yx)
    if "points" in value:
        return _fill_polygon(value["points"], size_yx)
    if "width" in value:
        return _fill_rectangle(value, size_yx)
    raise ValueError(f"No shape that is known here: {sorted(value)}")


def region_labels(region: Region) -> tuple[str, ...]:
    """The labels of a region; empty for the tool's half of a `<Labels>` pair."""
    return tuple(region["value"].get(region["type"], ()))


def label_mask(
    prediction: Mapping[str, Any],
    label: str,
    size_yx: tuple[int, int],
    *,
    from_name: str | None = None,
    to_name: str | None = None,
    item_index: int | None = None,
) -> NDArray[np.bool_]:
    """The union of a label's regions, empty when it has none.

    Args:
        prediction: as Label Studio stores it.
        label: whose regions.
        size_yx: the picture's upright size.
        from_name: only this control's; None takes every control's.
        to_name: only this image tag's; None takes every image tag's.
        item_index: only this page's; None for a picture without pages.
    """
    mask = np.zeros(size_yx, np.bool_)
    for region in prediction["result"]:
        wanted = (
            from_name in (None, region["from_name"])
            and to_name in (None, region["to_name"])
            and item_index == region.get("item_index")
        )
        if wanted and label in region_labels(region):
            mask |= decode_region(region, size_yx)
    return mask


def bounding_box(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The smallest upright rectangle around a mask that is not empty, filled."""
    rows, columns = np.nonzero(mask)
    box = np.zeros_like(mask)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box


def intersection_over_union(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """IoU of two masks; 1 when both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def shrink(mask: NDArray[np.bool_], *, by_px: int) -> NDArray[np.bool_]:
    """The mask without its outermost pixels; the picture's border is outside."""
    for _ in range(by_px):
        padded = np.pad(mask, 1)
        mask = (
            padded[1:-1, 1:-1]
            & padded[:-2, 1:-1]
            & padded[2:, 1:-1]
            & padded[1:-1, :-2]
            & padded[1:-1, 2:]
        )
    return mask


def union(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """All pixels of any of the masks, of which there is at least one."""
    return np.logical_or.reduce(list(masks))


def paint_opacity_01(
    shown: NDArray[np.uint8],
    picture: NDArray[np.uint8],
    colour: tuple[int, int, int],
    where: NDArray[np.bool_],
) -> tuple[float, float]:
    """How strongly `colour` is laid over `picture` where a mask is set.

    Fits one opacity a to `shown = (1 - a) * picture + a * colour`.

    Returns:
        a, and the mean distance in grey levels of `shown` from what a explains:
        small only when that colour, and nothing else, was laid over.
    """
    under = picture[where].astype(np.float64)
    change = shown[where].astype(np.float64) - under
    towards = np.asarray(colour, np.float64) - under
    opacity_01 = float((change * towards).sum() / (towards**2).sum())
    return opacity_01, float(np.abs(change - opacity_01 * towards).mean())


def _decode_brush(stream: Sequence[int], size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    return _opaque(np.asarray(decode_rle(stream)).reshape(*size_yx, 4))


def _decode_bitmask(data_url: str, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    content = base64.b64decode(data_url.removeprefix("data:image/png;base64,"))
    with Image.open(BytesIO(content), formats=["PNG"]) as picture:
        if picture.size != size_yx[::-1]:
            raise ValueError(
                f"The bitmask is {picture.size}, the image {size_yx[::-1]}"
            )
        return _opaque(np.asarray(picture.convert("RGBA")))


def _opaque(rgba: NDArray[np.uint8]) -> NDArray[np.bool_]:
    alpha = rgba[..., 3]
    if not np.isin(alpha, (0, 255)).all():
        raise ValueError(f"Alpha holds {np.unique(alpha)}; only 0 and 255 are wanted")
    return np.asarray(alpha == 255)


def _fill_rectangle(
    value: Mapping[str, Any], size_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    left, top, right, bottom = (
        value["x"],
        value["y"],
        value["x"] + value["width"],
        value["y"] + value["height"],
    )
    if value["rotation"] != 0:
        raise ValueError(f"Only upright rectangles, not {value}")
    if min(left, top) < 0 or max(right, bottom) > 100:
        raise ValueError(f"The rectangle leaves the picture: {value}")
    y, x = _pixel_centres_percent(size_yx)
    return np.asarray((x > left) & (x < right) & (y > top) & (y < bottom))


def _fill_polygon(
    points: Sequence[Sequence[float]], size_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    """Pixels whose centre the ring of (x, y) percentages winds around."""
    y, x = _pixel_centres_percent(size_yx)
    winding = np.zeros(size_yx, np.int64)
    ring = np.asarray(points, np.float64)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        # Above zero where the pixel is left of the edge, seen along it.
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        winding += ((y0 <= y) & (y1 > y) & (side > 0)).astype(np.int64)
        winding -= ((y0 > y) & (y1 <= y) & (side < 0)).astype(np.int64)
    return np.asarray(winding != 0)


def _pixel_centres_percent(
    size_yx: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = size_yx
    y = (np.arange(rows) + 0.5)[:, None] * 100 / rows
    x = (np.arange(columns) + 0.5)[None, :] * 100 / columns
    return y, x
