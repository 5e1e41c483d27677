"""Stored predictions back to masks, by Label Studio's own decoder; pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray


def decode_region(
    region: Mapping[str, Any], size_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    """One brush region as a bool mask (Y, X).

    Raises:
        ValueError: the stream does not hold `size_yx` RGBA pixels, its alpha has
            values between 0 and 255, or `original_*` says another size.
    """
    stated_yx = (region["original_height"], region["original_width"])
    if stated_yx != size_yx:
        raise ValueError(f"The region says {stated_yx}, the image is {size_yx}")
    rgba = np.asarray(decode_rle(region["value"]["rle"])).reshape(*size_yx, 4)
    alpha = rgba[..., 3]
    if not np.isin(alpha, (0, 255)).all():
        raise ValueError(f"Alpha holds {np.unique(alpha)}; only 0 and 255 are wanted")
    return np.asarray(alpha == 255)


def label_mask(
    prediction: Mapping[str, Any], label: str, size_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    """The union of a label's regions, empty when it has none."""
    mask = np.zeros(size_yx, np.bool_)
    for region in prediction["result"]:
        if label in region["value"]["brushlabels"]:
            mask |= decode_region(region, size_yx)
    return mask


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
            & (padded[:-2, 1:-1] & padded[2:, 1:-1])
            & (padded[1:-1, :-2] & padded[1:-1, 2:])
        )
    return mask


def union(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Where any of the masks is on."""
    return np.asarray(np.logical_or.reduce(list(masks)))


def paint_opacity_01(
    shown: NDArray[np.uint8],
    picture: NDArray[np.uint8],
    colour: tuple[int, int, int],
    where: NDArray[np.bool_],
) -> tuple[float, float]:
    """How strongly `colour` lies over `picture` on the screen.

    Least squares for the opacity a in shown = (1 - a) * picture + a * colour.

    Args:
        shown: uint8 (Y, X, 3), the screen.
        picture: uint8 (Y, X, 3), the picture without paint.
        colour: the label's RGB.
        where: bool (Y, X), the pixels to look at.

    Returns:
        The opacity, and the mean absolute difference in grey levels that it
        leaves unexplained: large when another colour is painted.
    """
    seen = shown[where].astype(np.float64)
    below = picture[where].astype(np.float64)
    towards = np.array(colour, np.float64) - below
    opacity = float((towards * (seen - below)).sum() / (towards**2).sum())
    rest = seen - (below + opacity * towards)
    return opacity, float(np.abs(rest).mean())
