"""Pixels in, what a latent diffusion model works on out.

Axis letters: n windows of an image, C channels, Y, X model pixels, h, w latent cells.
"""

from typing import Any

import torch
from torch import Tensor


def clean_latents(vae: Any, pixels: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Encode, without noise: float (n, C, h, w) in the VAE's dtype.

    Args:
        vae: diffusers `AutoencoderKL`.
        pixels: float (n, 3, Y, X) in [-1, 1].
        jitter: float (n, C, h, w), standard normal, to take a sample of the posterior
            as DiffSegmenter's code does; None takes its mean.
    """
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    latents = posterior.mean
    if jitter is not None:
        latents = latents + posterior.std * jitter.to(latents)
    # Stable Diffusion 3 and later centre their latents.
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    latents = latents - shift if shift else latents
    return latents * vae.config.scaling_factor  # type: ignore[no-any-return]


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
        pixels: see `clean_latents`.
        timestep: of the forward process, 0 to 999.
        noise: float (n, C, h, w), standard normal.
        jitter: see `clean_latents`.
    """
    clean = clean_latents(vae, pixels, jitter)
    time = torch.full((len(clean),), timestep, device=clean.device)
    return torch.as_tensor(scheduler.add_noise(clean, noise.to(clean), time))
