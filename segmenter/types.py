"""Frozen results of the segmenter, in numpy: no torch needed to hold them.

Axis letters:

    L  labels     h, w  latent grid     Y, X  image pixels
    C  latent channels     n  windows     V  looks at an image
    D, E  numbers a cell or a look     v, u  grid of the features and layers
"""

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEncoding:
    """What the models' encoders made of one image, which no label changes.

    With it, other labels in the same image cost a pass of the denoiser alone, and give
    the same maps to the bit.

    Attributes:
        latents: float32 (n, C, h, w) of the n windows of each view of the image,
            without noise; exact, whatever the model's precision.
        embeddings: float32 (V, D), unit embeddings of what the image-text model looked
            at; None where it was not asked.
        patches: float16 (E, v, u), what it knew of the image's parts, in the
            projection and on the grid of the coarsest `ScoreMaps.layers`; None as well.
    """

    latents: tuple[NDArray[np.float32], ...]
    embeddings: NDArray[np.float32] | None = None
    patches: NDArray[np.float16] | None = None

    def has_look(self, width: int | None, grid: tuple[int, int, int]) -> bool:
        """Whether the image-text model's part is there, with this D and (E, v, u)."""
        seen, patches = self.embeddings, self.patches
        if seen is None or patches is None or not len(seen):
            return False
        return seen.shape[1:] == (width,) and patches.shape == grid


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreMaps:
    """What the model says of one image, before any threshold: small and cacheable.

    Attributes:
        labels: the L labels as asked, in that order.
        maps: float16 (L, h, w) in [0, 1], each stretched to its own full range unless
            the options say otherwise.
        presence: float32 (L,) in [0, 1]; 1 is what the presence filter keeps (or
            all, where no filter ran), less is how near to that a label came.
        size_yx: rows and columns of the image.
        features: float16 (D, v, u), what the same pass knew of every cell of a bounded
            grid, for clicks; at most 0.25 MB; None where none was read. No mask that
            labels alone make depends on it: whoever keeps maps may drop it.
        layers: float16 (E, v, u), the same in a projection that is one for all images
            of the same weights, for what is learnt from corrections; at most 0.5 MB;
            None where none was read. May be dropped as `features` may.
        encoding: what makes other labels in the same image cheap, under options of
            the same `SegmenterOptions.encoding_fingerprint`; None where it was dropped.
    """

    labels: tuple[str, ...]
    maps: NDArray[np.float16]
    presence: NDArray[np.float32]
    size_yx: tuple[int, int]
    features: NDArray[np.float16] | None = None
    layers: NDArray[np.float16] | None = None
    encoding: ImageEncoding | None = None

    @property
    def peaks(self) -> NDArray[np.float32]:
        """float32 (L,) in [0, 1], each map's highest score; 0 for a constant map."""
        if not self.maps.size:
            return np.zeros(len(self.maps), np.float32)
        high = self.maps.max(axis=(1, 2)).astype(np.float32)
        return np.where(high > self.maps.min(axis=(1, 2)), high, np.float32(0))


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMask:
    """One label's pixels in one image.

    Attributes:
        index: into the labels of the score maps it was cut from.
        mask: bool (Y, X), with at least one pixel.
        scores: float32 (Y, X) in [0, 1]; the label's own inside the mask, outside
            of it whatever.
        free: bool (Y, X), the pixels that this label may grow into without taking
            another label's.
        box_yxyx: (y0, x0, y1, x1), rows and columns that hold all of the mask; y1 and
            x1 are the first ones after them. Not always the smallest.
    """

    index: int
    mask: NDArray[np.bool_]
    scores: NDArray[np.float32]
    free: NDArray[np.bool_]
    box_yxyx: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """One image cut into labels: every pixel has one label or is background.

    Attributes:
        labels: the L labels as asked, in that order.
        label_map: int16 (Y, X), index into `labels`, -1 for background.
        scores: float32 (L,) in [0, 1], mean score inside the label's mask, 0 where
            the mask is empty.
        presence: float32 (L,) in [0, 1], see `ScoreMaps`.
        best: float32 (L,) in [0, 1], the label's highest score at any pixel.
    """

    labels: tuple[str, ...]
    label_map: NDArray[np.int16]
    scores: NDArray[np.float32]
    presence: NDArray[np.float32]
    best: NDArray[np.float32]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The mask of label number `index`: bool (Y, X)."""
        return np.asarray(self.label_map == index)

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64 (L,), each label's share of the image's pixels, in [0, 1]."""
        found = self.label_map[self.label_map >= 0]
        counts = np.bincount(found, minlength=len(self.labels))
        return counts / self.label_map.size


@dataclass(frozen=True, kw_only=True)
class Click:
    """A point that a person says belongs to an object, or does not.

    Attributes:
        y: in pixels of the upright image, in [0, rows); a pixel's centre is at .5.
        x: the same, in [0, columns).
        is_positive: False takes from the mask.
    """

    y: float
    x: float
    is_positive: bool = True


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle that a person drew around an object.

    Edges, in pixels of the upright image: (0, 0, rows, columns) is all of it.

    Attributes:
        top: above `bottom`, as `left` is left of `right`.
        left: see `top`.
        bottom: see `top`.
        right: see `top`.
    """

    top: float
    left: float
    bottom: float
    right: float


class WeightsLocation(enum.Enum):
    """Where the weights of a model are."""

    BUNDLED = "in this package"
    FOLDER = "in a folder"
    DOWNLOADED = "downloaded from the hub before"
    ON_HUB = "on the hub"
    GATED = "in a gated repository of the hub, which wants its terms to be accepted"
    NOT_FOUND = "not on the hub, or in a private repository"
    HUB_UNREACHABLE = "not on this machine, and the hub does not answer"
    OFFLINE = "not on this machine, and HF_HUB_OFFLINE forbids the download"

    @property
    def is_here(self) -> bool:
        """Whether they are on this machine."""
        return self in {
            WeightsLocation.BUNDLED,
            WeightsLocation.FOLDER,
            WeightsLocation.DOWNLOADED,
        }


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What a model can run on, beside the CPU.

    Attributes:
        torch_version: such as "2.13.0+cpu".
        cuda: one description per CUDA device, by number.
        has_mps: whether there is Apple's GPU.
    """

    torch_version: str
    cuda: tuple[str, ...]
    has_mps: bool
