"""Score maps and the masks that a person left in, an example to learn from out.

What is kept of an image: what the pass knew of its cells, what the words said, and
which cells the masks cover. No pixel of it. Axis letters:

    L  labels     Y, X  image pixels     E  numbers a cell     v, u  grid of the layers
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from segmenter.heads.packing import pack, unpack
from segmenter.types import ScoreMaps

_KIND: Final = "example 1"
# Of a row of layers, on either side of 0: 7 bits, of which deflating saves one.
_MOST_STEPS: Final = 63


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """What one corrected image teaches.

    Attributes:
        labels: the L labels that were looked for; one without a covered cell is known
            not to be in the image.
        layers: int8 (E, v, u), in steps of `step`.
        step: float32 (E,).
        words: uint8 (L, v, u), what the words said of each cell, in 1/255.
        covers: uint8 (L, v, u), share of each cell that the label's mask covers, in
            1/255.
        presence: float32 (L,) in [0, 1], what the words said of the image.
    """

    labels: tuple[str, ...]
    layers: NDArray[np.int8]
    step: NDArray[np.float32]
    words: NDArray[np.uint8]
    covers: NDArray[np.uint8]
    presence: NDArray[np.float32]

    @property
    def values(self) -> NDArray[np.float32]:
        """The layers, as far as their steps have left them: float32 (E, v, u)."""
        return np.asarray(self.layers * self.step[:, None, None], np.float32)

    @cached_property
    def shown(self) -> NDArray[np.bool_]:
        """Which labels are in the image: bool (L,)."""
        return np.asarray((self.covers > 0).any(axis=(1, 2)))

    def to_bytes(self) -> bytes:
        """Pack it; see `from_bytes`."""
        return self._packed

    @cached_property
    def _packed(self) -> bytes:
        return pack(
            _KIND,
            {"labels": list(self.labels)},
            {
                "layers": self.layers,
                "step": self.step,
                "words": self.words,
                "covers": self.covers,
                "presence": self.presence,
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Example":
        """Unpack what `to_bytes` gave.

        Raises:
            ValueError: if it cannot be read.
        """
        fields, arrays = unpack(_KIND, data)
        try:
            example = cls(labels=tuple(map(str, fields["labels"])), **arrays)
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is no {_KIND}: {error!r}.") from error
        example._check()
        # Packing takes longer than all else that an example is needed for.
        vars(example)["_packed"] = bytes(data)
        return example

    def _check(self) -> None:
        of_labels = (len(self.labels), *self.layers.shape[1:])
        if (
            self.layers.ndim != 3
            or self.words.shape != of_labels
            or self.covers.shape != of_labels
            or self.step.shape != self.layers.shape[:1]
            or self.presence.shape != (len(self.labels),)
        ):
            raise ValueError(f"The arrays of this {_KIND} do not fit each other.")


def make_example(maps: ScoreMaps, masks: Mapping[str, NDArray[np.bool_]]) -> Example:
    """Gather what an image teaches.

    Args:
        maps: of the image, with `layers`; a label each, no prompts.
        masks: bool (Y, X) by label. A label of `maps` that has none, or an empty one,
            is known not to be in the image.

    Raises:
        ValueError: if there are no layers, a mask is of another size, or of a label
            that `maps` do not know.
    """
    if maps.layers is None:
        raise ValueError("The score maps bring no layers; score the image again.")
    for label, mask in masks.items():
        if label not in maps.labels:
            raise ValueError(f"There is a mask of {label!r} but no score map of it.")
        if mask.shape != maps.size_yx:
            raise ValueError(
                f"The mask of {label!r} is {mask.shape} and the image {maps.size_yx}."
            )
    grid_yx = (maps.layers.shape[1], maps.layers.shape[2])
    layers = np.nan_to_num(maps.layers.astype(np.float32), posinf=0, neginf=0)
    most = np.abs(layers).max(axis=(1, 2), initial=0)
    step = np.where(most > 0, most / _MOST_STEPS, 1).astype(np.float32)
    words = np.zeros((len(maps.labels), *grid_yx), np.uint8)
    covers = np.zeros_like(words)
    for index, label in enumerate(maps.labels):
        words[index] = _levels(on_grid(maps.maps[index], grid_yx))
        if label in masks:
            covers[index] = _levels(on_grid(masks[label], grid_yx))
    return Example(
        labels=maps.labels,
        layers=np.rint(layers / step[:, None, None]).astype(np.int8),
        step=step,
        words=words,
        covers=covers,
        presence=np.nan_to_num(maps.presence.astype(np.float32)),
    )


def on_grid(
    values: NDArray[np.float16 | np.float32 | np.bool_], grid_yx: tuple[int, int]
) -> NDArray[np.float32]:
    """Bring a map to a grid: means where it is finer, bilinear where it is not."""
    found = np.ascontiguousarray(values, np.float32)
    if found.shape == grid_yx:
        return found
    finer = found.shape[0] >= grid_yx[0] and found.shape[1] >= grid_yx[1]
    kind = cv2.INTER_AREA if finer else cv2.INTER_LINEAR
    resized = cv2.resize(found, grid_yx[::-1], interpolation=kind)
    return np.asarray(resized, np.float32).reshape(grid_yx)


def _levels(values_01: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Upwards: a mask of one pixel of a large image is a mask.
    return np.ceil(np.clip(np.nan_to_num(values_01), 0, 1) * 255).astype(np.uint8)
