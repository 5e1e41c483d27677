"""Clicks and what a person sees in, which object is meant and its new mask out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backend.label_config import ClickTarget
from backend.label_studio import ClickRequest, PointPrompt
from backend.regions import SeenRegion, control_tags, new_region_id
from segmenter import Box, Click, ScoreMaps, refine_mask

Mask = NDArray[np.bool_]

# Share of the smaller of two masks that both have, from which on they are one object.
_SAME_OBJECT_01: Final = 0.5


class NoAnswer(Exception):
    """Why a question is answered without a region; one line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClickedObject:
    """What somebody clicked on, of all that is drawn there.

    Attributes:
        task_id: None when the request held none.
        clicks: what was shown of it.
        target: what draws it.
        pixels: uint8 (Y, X, 3), the image.
        maps: of the control's labels in it.
        seen: all that the person sees, by id.
    """

    task_id: int | None
    clicks: ClickRequest
    target: ClickTarget
    pixels: NDArray[np.uint8]
    maps: ScoreMaps
    seen: Mapping[str, SeenRegion]

    def region(self) -> SeenRegion | None:
        """The region that is meant; None for an object without one.

        The one below the first click. Beside it a click is on the same object if it
        alone would find mostly the same; the person then shows what is missing.

        Raises:
            NoAnswer: if there is only something to take away, and nothing is there.
        """
        clicks = self.clicks
        positive = clicks.first_positive
        if positive is not None:
            return self._below(positive) or self._alike(positive)
        if clicks.box is not None:
            return self._alike(None)
        for negative in clicks.points:
            found = self._below(negative)
            if found is not None:
                return found
        raise NoAnswer(f"a negative click in no mask of {self.target.label.name!r}")

    def solve(self, before: SeenRegion | None, start: Mask | None) -> Mask:
        """The object's mask by all clicks; others keep what is theirs."""
        clicks = self.clicks
        mask = self._refine(clicks.points, is_boxed=True, start=start)
        if self.target.control.cut.overlap == "exclusive":
            mine = start if start is not None else np.zeros_like(mask)
            wanted = [self.pixel(point) for point in clicks.points if point.is_positive]
            for other, theirs in self._with_masks(same_label=False):
                is_other = before is None or other.id != before.id
                # Who clicks on another's pixels wants them.
                if is_other and not any(theirs[place] for place in wanted):
                    mask &= mine | ~theirs
        return mask

    def new_id(self) -> str:
        """Of an object that nothing is drawn of."""
        clicks = self.clicks
        positive, box = clicks.first_positive, clicks.box or {}
        place = (
            [positive.x_percent, positive.y_percent]
            if positive is not None
            else [box[name] for name in ("x", "y", "width", "height")]
        )
        return new_region_id(
            task_id=self.task_id,
            control=self.target.control,
            label=self.target.label,
            item_index=clicks.item_index,
            place=place,
            taken=self.seen,
        )

    def pixel(self, point: PointPrompt) -> tuple[int, int]:
        """Row and column of the pixel that a click is on."""
        click = self._click(point)
        return int(click.y), int(click.x)

    def _click(self, point: PointPrompt) -> Click:
        rows, columns = self.maps.size_yx
        return Click(
            y=min(point.y_percent / 100 * rows, rows - 0.5),
            x=min(point.x_percent / 100 * columns, columns - 0.5),
            is_positive=point.is_positive,
        )

    def _below(self, click: PointPrompt) -> SeenRegion | None:
        """The label's region at a click that is drawn last, and so above others."""
        pixel, found = self.pixel(click), None
        for region, mask in self._with_masks(same_label=True):
            found = region if mask[pixel] else found
        return found

    def _alike(self, click: PointPrompt | None) -> SeenRegion | None:
        """The label's region that a click, or the box, alone finds most of."""
        alone: Mask | None = None
        best, share_01 = None, _SAME_OBJECT_01
        for region, mask in self._with_masks(same_label=True):
            if alone is None:
                points = () if click is None else (click,)
                alone = self._refine(points, is_boxed=click is None, start=None)
            shared_01 = _shared_01(alone, mask)
            if shared_01 >= share_01:
                best, share_01 = region, shared_01
        return best

    def _refine(
        self, points: tuple[PointPrompt, ...], *, is_boxed: bool, start: Mask | None
    ) -> Mask:
        label, control = self.target.label, self.target.control
        box = self.clicks.box if is_boxed else None
        mask = refine_mask(
            self.pixels,
            clicks=[self._click(point) for point in points],
            boxes=[] if box is None else [_around(box, self.maps.size_yx)],
            start=start,
            maps=self.maps,
            label=self.target.index,
            threshold=control.threshold_of(label),
            presence_threshold=control.presence_threshold_of(label),
        )
        if box is not None and box["rotation"] % 360:
            inside = _inside(box, self.maps.size_yx)
            mask = mask & (inside if start is None else inside | start)
        return mask

    def _with_masks(self, *, same_label: bool) -> Iterator[tuple[SeenRegion, Mask]]:
        """What is drawn on this image with the same tag, of the label or of any.

        One mask at a time: those of a large picture take much room.
        """
        place = self.clicks.to_name, self.clicks.item_index
        for region in self.seen.values():
            if (
                region.from_name != self.target.control.from_name
                or (region.to_name, region.item_index) != place
                or region.size_yx != self.maps.size_yx
                or (same_label and self.target.label.name not in region.labels)
            ):
                continue
            mask = region.mask()
            if mask is not None:
                yield region, mask


def _shared_01(one: Mask, other: Mask) -> float:
    smaller = min(int(one.sum()), int(other.sum()))
    return int((one & other).sum()) / smaller if smaller else 0.0


def _around(box: Mapping[str, float], size_yx: tuple[int, int]) -> Box:
    """The upright rectangle around one that may be turned, within the image."""
    rows, columns = size_yx
    read = control_tags()["rectangle"].corners
    assert read is not None
    corners = read(box, size_yx)
    left, top = np.clip(corners.min(axis=0), 0, (columns, rows))
    right, bottom = np.clip(corners.max(axis=0), 0, (columns, rows))
    if not (left < right and top < bottom):
        raise NoAnswer("the box lies outside of the picture")
    return Box(top=top, left=left, bottom=bottom, right=right)


def _inside(box: Mapping[str, float], size_yx: tuple[int, int]) -> Mask:
    read = control_tags()["rectangle"].decode
    assert read is not None
    return read(box, size_yx)
