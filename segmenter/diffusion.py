"""Images in, noised latents out.

Axis letters: n windows of an image, C channels, Y, X model pixels, h, w latent cells
of a window, H, W latent cells of the canvas.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def to_model_input(pixels: NDArray[np.uint8], *, size_yx: tuple[int, int]) -> Tensor:
    """Bring an image to a model's size: float32 (3, *size_yx) in [-1, 1].

    Another aspect ratio squashes it, as published. Shrinking averages over all pixels
    it covers (antialias); the published code meets only images it enlarges, where
    this changes nothing.
    """
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    resized = F.interpolate(
        image.float().div_(255),  # in place: a large image is large enough
        size_yx,
        mode="bilinear",
        align_corners=False,
        antialias=True,
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


@torch.no_grad()
def noised_latents(
    vae: Any,
    scheduler: Any,
    pixels: Tensor,
    *,
    timestep: int,
    noise: Tensor,
    jitter: Tensor | None = None,
) -> Tensor:
    """Encode and noise: float (n, C, h, w) in the VAE's dtype.

    Args:
        vae: diffusers `AutoencoderKL`.
        scheduler: anything with `add_noise`.
        pixels: float (n, 3, Y, X) in [-1, 1].
        timestep: of the forward process, 0 to 999.
        noise: float (n, C, h, w), standard normal.
        jitter: the same, to take a sample of the posterior as the published code
            does; None takes its mean.
    """
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    clean = posterior.mean
    if jitter is not None:
        clean = clean + posterior.std * jitter.to(clean)
    time = torch.full((len(clean),), timestep, device=clean.device)
    return torch.as_tensor(
        scheduler.add_noise(clean * vae.config.scaling_factor, noise.to(clean), time)
    )
