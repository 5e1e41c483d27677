"""An image in, its noised windows and the readings of their U-Net passes out.

What both modes share: sizes, layers, the U-Net. Knows no labels.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmenter.backbones.unet.inputs import draw_noise, noised_latents, to_model_input
from segmenter.backbones.unet.layers import Layer, plan_layers
from segmenter.backbones.unet.reading import Sample, SampleReading, read_samples
from segmenter.modes.windows import Layout, lay_out
from segmenter.options import SegmenterOptions
from segmenter.weights import DiffusionParts

# Latent cells of Stable Diffusion 1.5, and so many images' worth of them in a pass.
_CELLS_OF_SD15: Final = 64 * 64
_ON_CPU: Final = 1
_ON_GPU: Final = 8


def size_yx(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of an image."""
    return image.shape[0], image.shape[1]


class Passes:
    """One model's passes under one set of options."""

    def __init__(
        self,
        parts: DiffusionParts,
        options: SegmenterOptions,
        layers: Sequence[Layer],
    ) -> None:
        """Plan what to read.

        Args:
            parts: on one device.
            options: of one mode.
            layers: of the parts' U-Net, in the order of execution.

        Raises:
            UnsupportedModel: if the U-Net lacks what the options read.
        """
        self.parts = parts
        self.options = options
        self.plan: Final = plan_layers(
            layers,
            level_weights=options.level_weights,
            self_attention_products=options.self_attention_products,
            self_attention_layers=options.self_attention_layers,
        )
        self._cell_px = 1 << (len(parts.vae.config.block_out_channels) - 1)
        self._block_cells = 1 << (len(parts.unet.config.block_out_channels) - 1)

    @property
    def most_at_once(self) -> int:
        """Images, or windows of them, that share a pass.

        Where the options do not say: a CPU gains nothing from more cells than one
        image of Stable Diffusion 1.5 has, and whoever waits for one of the images
        waits for all; a GPU is busy from about 8 such images on (`make bench`).
        """
        given = self.options.images_per_pass
        if given is not None:
            return given
        images = _ON_CPU if self.parts.unet.device.type == "cpu" else _ON_GPU
        side_cells = int(self.parts.unet.config.sample_size)
        return max(1, images * _CELLS_OF_SD15 // side_cells**2)

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
        side_cells = int(self.parts.unet.config.sample_size)
        blocks = lay_out(
            size_yx,
            side_blocks=max(1, side_cells // self._block_cells),
            block_px=self._block_cells * self._cell_px,
            keeps_aspect=self.options.aspect == "keep",
            max_windows=max_windows or self.options.max_windows,
        )
        return blocks.scaled(self._block_cells)

    def map_layout(self, cells: Layout) -> Layout:
        """The same windows in cells of the maps, which may be coarser than latents."""
        return cells.divided(1 << self.plan.depth)

    def cut(self, image: NDArray[np.uint8], cells: Layout) -> Tensor:
        """The windows' pixels: float32 (n, 3, Y, X) in [-1, 1]."""
        pixels = cells.scaled(self._cell_px)
        canvas = to_model_input(image, size_yx=pixels.canvas_yx)
        return torch.stack([canvas[:, rows, cols] for rows, cols in pixels.places()])

    def noise(self, cells: Layout) -> Tensor:
        """What `latents` adds, window by window: float32 (draws, n, C, h, w)."""
        channels = int(self.parts.vae.config.latent_channels)
        canvas = draw_noise(
            (channels, *cells.canvas_yx),
            seed=self.options.seed,
            draws=2 if self.options.latent == "sample" else 1,
        )
        return torch.stack(
            [canvas[..., rows, columns] for rows, columns in cells.places()], dim=1
        )

    def latents(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """Noised latents of windows of any images: float (n, C, h, w)."""
        return noised_latents(
            self.parts.vae,
            self.parts.scheduler,
            pixels,
            timestep=self.options.timestep,
            noise=noise[0],
            jitter=noise[1] if len(noise) > 1 else None,
        )

    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        """Run the U-Net once on all samples, which have one size."""
        return read_samples(
            self.parts.unet,
            samples,
            self.plan,
            timestep=self.options.timestep,
            cell_px=self._cell_px,
        )
