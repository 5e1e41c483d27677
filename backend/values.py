"""Frozen values that the rooms of the backend hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        prompt: the text that drives the segmenter.
        threshold_01: score threshold of this label alone, None for the control's.
    """

    name: str
    prompt: str
    threshold_01: float | None = None


@dataclass(frozen=True, kw_only=True)
class Control:
    """One `BrushLabels` control and the image it paints on.

    Attributes:
        from_name: the control tag's name.
        to_name: the `Image` tag's name.
        data_key: the key in a task's data that holds the image's address.
        labels: the control's labels in the config's order.
        threshold_01: score threshold of this control, None for the default.
    """

    from_name: str
    to_name: str
    data_key: str
    labels: tuple[Label, ...]
    threshold_01: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FetchedImage:
    """An image as a browser would show it.

    Attributes:
        pixels: uint8 (Y, X, 3), RGB, upright by EXIF.
        digest: hex digest of the bytes as fetched; equal bytes, equal digest.
    """

    pixels: NDArray[np.uint8]
    digest: str


@dataclass(frozen=True, kw_only=True)
class LabelStudioAccess:
    """How to reach one Label Studio: its address and a token for it.

    Attributes:
        url: scheme, host, port and sub-path without a trailing slash, or None
            when unknown.
        token: legacy token or personal access token, or None.
        from_environment: the operator named this address. False for one learned
            from `/setup`, which anybody who reaches the backend may send.
    """

    url: str | None
    token: str | None = field(default=None, repr=False)
    from_environment: bool = False
