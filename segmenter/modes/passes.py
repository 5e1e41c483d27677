"""An image in, its noised windows and what the model attends to in them out.

What both modes share: sizes, windows, noise. Knows no labels. Axis letters: n windows
of an image, C channels, Y, X model pixels, h, w latent cells of a window, H, W latent
cells of the canvas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones import Backbone, Sample, SampleReading
from segmenter.errors import BadImage
from segmenter.modes.windows import Layout, lay_out
from segmenter.options import SegmenterOptions
from segmenter.stages import stage
from segmenter.types import ImageEncoding

# Latent cells of Stable Diffusion 1.5, and so many images' worth of them in a pass.
_CELLS_OF_SD15: Final = 64 * 64
_ON_CPU: Final = 1
_ON_GPU: Final = 8


def size_yx(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of an image."""
    return image.shape[0], image.shape[1]


def check_image(image: NDArray[np.uint8]) -> None:
    """Refuse what is no picture.

    Raises:
        BadImage: unless it is uint8 (rows, columns, 3) with at least one pixel.
    """
    if (
        image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        raise BadImage(
            f"The image is {image.dtype} of shape {image.shape}; give uint8 of shape "
            f"(rows, columns, 3), RGB, with at least one pixel."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One way to see an image: as a whole, or in windows.

    Attributes:
        image: uint8 (rows, columns, 3).
        cells: the windows, in latent cells.
        latents: float32 (n, C, h, w) of the windows, where they are known.
    """

    image: NDArray[np.uint8]
    cells: Layout
    latents: NDArray[np.float32] | None = None


class Passes:
    """One model's passes under one set of options."""

    def __init__(self, backbone: Backbone, options: SegmenterOptions) -> None:
        """Plan what to read.

        Args:
            backbone: on one device.
            options: of one mode.

        Raises:
            UnsupportedModel: if the model lacks what the options read.
        """
        self.text: Final = backbone.text
        self.options: Final = options
        self._geometry = backbone.geometry
        self._device = backbone.device
        self._reader = backbone.reader(options)

    @property
    def max_batch(self) -> int:
        """Images, or windows of them, that share a pass.

        Where the options do not say: a CPU gains nothing from more cells than one
        image of Stable Diffusion 1.5 has, and whoever waits for one of the images
        waits for all; a GPU is busy from about 8 such images on (`make bench`).
        """
        given = self.options.images_per_pass
        if given is not None:
            return given
        images = _ON_CPU if self._device.type == "cpu" else _ON_GPU
        return max(1, images * _CELLS_OF_SD15 // self._geometry.side_cells**2)

    def views(self, size_yx: tuple[int, int]) -> list[Layout]:
        """How an image of this size is read, in latent cells: once, or twice.

        In windows, and if those are several, then as a whole as well.
        """
        windows = self.lay_out(size_yx)
        if len(windows.origins_yx) == 1:
            return [windows]
        return [windows, self.lay_out(size_yx, max_windows=1)]

    def lay_out(
        self, size_yx: tuple[int, int], *, max_windows: int | None = None
    ) -> Layout:
        """The windows of an image of this size, in latent cells.

        Args:
            size_yx: rows and columns of the image.
            max_windows: None for the options'.
        """
        block_cells = self._geometry.block_cells
        blocks = lay_out(
            size_yx,
            side_blocks=max(1, self._geometry.side_cells // block_cells),
            block_px=block_cells * self._geometry.cell_px,
            keeps_aspect=self.options.aspect == "keep",
            max_windows=max_windows or self.options.max_windows,
        )
        return blocks.scaled(block_cells)

    def map_layout(self, cells: Layout) -> Layout:
        """The same windows in cells of the maps, which may be coarser than latents."""
        return cells.divided(self._reader.map_cell)

    def cut(self, image: NDArray[np.uint8], cells: Layout) -> Tensor:
        """The windows' pixels: float32 (n, 3, Y, X) in [-1, 1]."""
        pixels = cells.scaled(self._geometry.cell_px)
        canvas = to_model_input(
            image,
            size_yx=pixels.canvas_yx,
            antialias=not self.options.as_published,
        )
        return torch.stack([canvas[:, rows, cols] for rows, cols in pixels.slices()])

    def view(
        self,
        image: NDArray[np.uint8],
        cells: Layout,
        known: ImageEncoding | None = None,
    ) -> View:
        """See an image through these windows.

        Args:
            image: uint8 (rows, columns, 3).
            cells: the windows, in latent cells.
            known: of the image; latents of other windows are left alone.
        """
        channels = self._geometry.latent_channels
        shape = (len(cells.origins_yx), channels, *cells.window_yx)
        latents = () if known is None else known.latents
        own = [one for one in latents if one.shape == shape]
        return View(image=image, cells=cells, latents=own[0] if own else None)

    def encode(self, views: Sequence[View]) -> list[Tensor]:
        """Latents of each view's windows, without noise: float32 (n, C, h, w) each.

        On the CPU, and exact whatever the model's precision: what is known, and what
        is encoded now, are noised and read in the same way.

        Args:
            views: whose windows have one size.
        """
        new = [view for view in views if view.latents is None]
        encoded = iter(self._encode(new) if new else [])
        return [
            next(encoded) if view.latents is None else torch.from_numpy(view.latents)
            for view in views
        ]

    @stage("encode")
    def _encode(self, views: Sequence[View]) -> list[Tensor]:
        pixels = torch.cat([self.cut(view.image, view.cells) for view in views])
        draws = torch.cat([self._draws(view.cells) for view in views], dim=1)
        pieces = []
        for start in range(0, len(pixels), self.max_batch):
            some = slice(start, start + self.max_batch)
            jitter = draws[1, some] if len(draws) > 1 else None
            pieces.append(self._reader.encode(pixels[some], jitter=jitter))
        counts = [len(view.cells.origins_yx) for view in views]
        # In one order in memory, which kernels' rounding may depend on.
        clean = torch.cat(pieces).to("cpu", torch.float32).contiguous()
        return list(clean.split_with_sizes(counts))

    def noise(self, cells: Layout) -> Tensor:
        """What `add_noise` adds, window by window: float32 (n, C, h, w)."""
        return self._draws(cells)[0]

    def _draws(self, cells: Layout) -> Tensor:
        """Noise, and where the latent is sampled what for: (draws, n, C, h, w)."""
        canvas = draw_noise(
            (self._geometry.latent_channels, *cells.canvas_yx),
            seed=self.options.seed,
            draws=2 if self.options.latent == "sample" else 1,
        )
        return torch.stack(
            [canvas[..., rows, columns] for rows, columns in cells.slices()], dim=1
        )

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Noised latents of windows of any images: float (n, C, h, w)."""
        return self._reader.add_noise(latents, noise)

    @stage("backbone")
    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        """Read all samples, which have one size; see `AttentionReader.read`."""
        return self._reader.read(samples)


def to_model_input(
    pixels: NDArray[np.uint8], *, size_yx: tuple[int, int], antialias: bool = True
) -> Tensor:
    """Bring an image to a model's size: float32 (3, *size_yx) in [-1, 1].

    Another aspect ratio squashes it, as published.

    Args:
        pixels: uint8 (rows, columns, 3).
        size_yx: rows and columns of the model's picture.
        antialias: a side that shrinks is averaged over all pixels that it covers; the
            published code takes the nearest few. A side that grows is the same.
    """
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    resized = F.interpolate(
        image.float().div_(255),  # in place: a large image is large enough
        size_yx,
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )
    return resized[0].clamp(0, 1) * 2 - 1


def draw_noise(size: tuple[int, int, int], *, seed: int, draws: int) -> Tensor:
    """Gaussian noise for a canvas: float32 (draws, C, H, W) on the CPU.

    Drawn there so that every device and precision sees the same; one canvas for all
    windows, so that a cell meets the same noise in each. The first draw does not
    depend on how many there are.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(size, generator=generator) for _ in range(draws)])
