"""Frozen values that the rooms of the backend hand to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from segmenter import Mode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Label texts that are looked for in one image. Time and memory grow with the square:
# the pocket model takes 21 s and 0.6 GB for 2,000 on two cores, 76 s and 1.7 GB for
# 4,000. So many can be cached on any grid up to 128 x 128.
MAX_PROMPTS: Final = 2048


@dataclass(frozen=True, kw_only=True)
class Task:
    """One element of a request's `tasks`.

    Attributes:
        id: Label Studio's task id, None when the request holds none.
        data: the task's data, as imported.
    """

    id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label of a control.

    Attributes:
        name: what a region must answer with (the alias when there is one).
        prompts: the texts that drive the segmenter; what any of them finds is the
            label's. None for a label that is learned from corrections alone.
        threshold_01: score threshold of this label alone, None for the control's.
        presence_threshold_01: how sure it must be that the label is in the picture,
            None for the control's.
        is_drawn: False for one that only keeps its pixels from the others.
    """

    name: str
    prompts: tuple[str, ...]
    threshold_01: float | None = None
    presence_threshold_01: float | None = None
    is_drawn: bool = True


@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """How score maps become regions: the part of a mask that needs no model.

    Attributes:
        threshold_01: background score, in (0, 1).
        presence_threshold_01: labels that are in the picture with less probability
            are not drawn; in [0, 1].
        boundaries: "guided" lets the edges of masks follow the image's, "off" leaves
            them as the score maps have them.
        overlap: "exclusive" gives each pixel to its best label, "independent" lets
            labels of one control overlap.
        regions: "label" draws one region per label, "part" one per connected part.
            Polygons and rectangles are always one per part.
        min_area_01: connected parts, and holes, smaller than this share of the
            image are dropped, or filled; in [0, 1).
        max_regions: most regions of one control on one image; the largest stay.
        polygon_tolerance_01: farthest that a polygon may pass from the mask's
            outline, as a share of the image's diagonal; in (0, 1).
    """

    threshold_01: float
    presence_threshold_01: float = 0.5
    boundaries: Literal["off", "guided"] = "off"
    overlap: Literal["exclusive", "independent"] = "exclusive"
    regions: Literal["label", "part"] = "label"
    min_area_01: float = 0.0002
    max_regions: int = 50
    polygon_tolerance_01: float = 0.002


@dataclass(frozen=True, kw_only=True)
class ControlDefaults:
    """What holds for a control that does not say.

    Attributes:
        mode: how the segmenter reads labels.
        cuts: how regions are cut, by the mode that the control has; one per mode,
            because the scores of modes differ.
    """

    mode: Mode
    cuts: Mapping[Mode, CutOptions]


@dataclass(frozen=True, kw_only=True)
class ImageTag:
    """One `<Image>` of the label config.

    Attributes:
        name: the tag's name.
        value: its `value` or `valueList` as written, such as "$image".
        is_list: whether it shows pages (`valueList`), each with its own regions.
    """

    name: str
    value: str
    is_list: bool = False


@dataclass(frozen=True, kw_only=True)
class Control:
    """One tag that draws regions, and the image it draws on.

    Attributes:
        from_name: name of the tag that draws, such as `BrushLabels` or `Brush`.
        image: what is drawn on.
        shape: what it draws, such as "brush"; see `regions.control_tags`.
        labels: the labels in the config's order.
        cut: how its regions are cut.
        mode: how the segmenter is to read its labels.
        labels_from_name: name of the `<Labels>` tag that holds the labels where the
            drawing tag has none of its own, else None.
        labels_value: where a task's data holds further labels ("$labels"), None for
            a control whose labels are all in the config.
    """

    from_name: str
    image: ImageTag
    shape: str
    labels: tuple[Label, ...]
    cut: CutOptions
    mode: Mode
    labels_from_name: str | None = None
    labels_value: str | None = None

    @cached_property
    def spelling(self) -> str:
        """All that it says, as text: what is spelled the same draws the same."""
        return repr(self)

    def threshold_of(self, label: Label) -> float:
        """The score above which pixels are one of its labels', in [0, 1]."""
        own = label.threshold_01
        return self.cut.threshold_01 if own is None else own

    def presence_threshold_of(self, label: Label) -> float:
        """The lowest presence that one of its labels is drawn at, in [0, 1]."""
        own = label.presence_threshold_01
        return self.cut.presence_threshold_01 if own is None else own


@dataclass(frozen=True, kw_only=True)
class TypedPrompt:
    """What somebody typed in the editor, to have it segmented.

    Attributes:
        from_name: name of the `<TextArea>`.
        to_name: name of the image that it is about.
        text: what was typed last; has a readable character.
    """

    from_name: str
    to_name: str
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class FetchedImage:
    """An image as a browser would show it.

    Attributes:
        pixels: uint8 (Y, X, 3), RGB, upright by EXIF.
        digest: that of its `ImageFile`.
        release: says that nobody looks at the pixels any more, so that others may be
            decoded.
    """

    pixels: "NDArray[np.uint8]"
    digest: str
    release: Callable[[], None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageFile:
    """The file of an image, as it was read.

    Attributes:
        data: its bytes, still encoded.
        digest: hex digest of them; equal bytes, equal digest.
        address: where it was read.
        access: the Label Studio that it was read for.
    """

    data: bytes = field(repr=False)
    digest: str
    address: str = field(repr=False)
    access: "LabelStudioAccess"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """When an image is to be decoded, where there is no room for all.

    Attributes:
        is_wanted: asked while it waits; it is given up once it says no.
        is_urgent: goes before what is not.
        rank: goes before what has a higher one, where neither is urgent.
    """

    is_wanted: Callable[[], bool] = lambda: True
    is_urgent: bool = False
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class LabelStudioAccess:
    """How to reach one Label Studio: its address and a token for it.

    Attributes:
        url: scheme, host, port and sub-path without a trailing slash, or None
            when unknown.
        token: legacy token or personal access token, or None.
        from_environment: the operator named this address. False for one learned
            from `/setup`, which anybody who reaches the backend may send.
        external_url: the address that Label Studio gives for itself in `/setup` and
            writes into tasks, where it is not `url`; None when unknown.
        may_be_private: whether a learned address may lie in a private network, or
            on this machine; for one from the environment it says nothing. See
            `projects.LabelStudioConnections`.
    """

    url: str | None
    token: str | None = field(default=None, repr=False)
    from_environment: bool = False
    external_url: str | None = None
    may_be_private: bool = False
