"""The control tags whose regions are drawn, each found by its file in `tags/`.

A file there holds a `TAG`. Nothing else names its tag: the label config is read for
what is found here, and regions are written and read by it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

import backend.regions.tags
from backend.regions.components import Part
from backend.types import CutOptions

Mask: TypeAlias = NDArray[np.bool_]
Corners: TypeAlias = NDArray[np.float64]
Value: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ControlTag:
    """One kind of region: what it is called in a config, how it is written and read.

    Attributes:
        element: the tag that draws, as Label Studio spells it: "Brush". It has labels
            of its own as `<BrushLabels>`, and a `<Labels>`'s as `<Brush>`.
        order: of several tools beside a `<Labels>`, the one with the lowest draws.
        one_region_per_part: whether each connected part is a region, whatever
            `model_regions` says, since such a region has one outline.
        encode: (shape, (rows, columns) of the image, how it is cut) to the region's
            `value`, less its label. The shape is a mask of the image's size, or one
            connected part. Raises `BadMask`.
        is_input: whether people mean the tag for showing a backend what they want,
            so that nothing may be drawn with it unasked: "always", or "smart" where
            it says so and a tag that draws masks is on the same image.
        decode: the way back: (a region's `value`, (rows, columns)) to its mask. What
            is drawn half, such as the soft edge of a brush, counts from alpha 128 on.
            Raises `BadMask`. None for a tag whose regions cannot be read.
        corners: (a region's `value`, (rows, columns)) to the ring of points (x, y), in
            pixels, float64 (n, 2), of which its mask is the inside; None for a tag
            that is not drawn by corners. Raises `BadMask`.
        tools: types of results, of other tools, that draw the same `value`.
    """

    element: str
    order: int
    one_region_per_part: bool
    encode: Callable[[Part | Mask, tuple[int, int], CutOptions], dict[str, Any]]
    is_input: Literal["never", "smart", "always"] = "never"
    decode: Callable[[Value, tuple[int, int]], Mask] | None = None
    corners: Callable[[Value, tuple[int, int]], Corners] | None = None
    tools: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The region's type where a `<Labels>` labels it: "brush"."""
        return self.element.lower()

    @property
    def labels_type(self) -> str:
        """The region's type where it has labels of its own: "brushlabels"."""
        return f"{self.shape}labels"

    @property
    def kinds_read(self) -> tuple[str, ...]:
        """Types of the results whose masks can be read; none where it has no way."""
        if self.decode is None:
            return ()
        return (self.labels_type, self.shape, *self.tools)

    @property
    def draws_masks(self) -> bool:
        """Whether a region may be of any form, and of several parts."""
        return not self.one_region_per_part


@functools.cache
def control_tags() -> Mapping[str, ControlTag]:
    """Every tag by its `shape`, in their order."""
    names = [
        found.name for found in pkgutil.iter_modules(backend.regions.tags.__path__)
    ]
    modules = [
        importlib.import_module(f"backend.regions.tags.{name}") for name in names
    ]
    tags = sorted((module.TAG for module in modules), key=lambda tag: tag.order)
    return {tag.shape: tag for tag in tags}
