"""Pixels in, what a latent diffusion model works on out.

Axis letters: n windows of an image, C channels, Y, X model pixels, h, w latent cells.
"""

from typing import Any

import torch
from torch import Tensor

from segmenter.backbones.protocol import Geometry


def latent_geometry(vae: Any, denoiser: Any, *, block_cells: int) -> Geometry:
    """The sizes of a model by its configurations.

    Args:
        vae: diffusers `AutoencoderKL`.
        denoiser: diffusers model with `sample_size`.
        block_cells: see `Geometry`.
    """
    return Geometry(
        cell_px=1 << (len(vae.config.block_out_channels) - 1),
        block_cells=block_cells,
        side_cells=int(denoiser.config.sample_size),
        latent_channels=int(vae.config.latent_channels),
    )


def as_encoder(vae: Any, values: Tensor) -> Tensor:
    """The same in the dtype and place of a VAE's encoder.

    Read off a weight: `vae.device` and `vae.dtype` walk through all modules each time.
    """
    return values.to(vae.encoder.conv_in.weight)


@torch.no_grad()
def encode_latents(vae: Any, pixels: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Encode: float (n, C, h, w) in the VAE's dtype, scaled for the denoiser.

    Args:
        vae: diffusers `AutoencoderKL`.
        pixels: float (n, 3, Y, X) in [-1, 1].
        jitter: float (n, C, h, w), standard normal, to take a sample of the posterior
            as DiffSegmenter's code does; None takes its mean.
    """
    posterior = vae.encode(as_encoder(vae, pixels)).latent_dist
    clean = posterior.mean
    if jitter is not None:
        clean = clean + posterior.std * jitter.to(clean)
    # Stable Diffusion 3 and later centre their latents.
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    clean = clean - shift if shift else clean
    return torch.as_tensor(clean * vae.config.scaling_factor)


def add_noise(
    scheduler: Any, latents: Tensor, noise: Tensor, *, timestep: int
) -> Tensor:
    """Noise as the forward process does: float (n, C, h, w), as `latents` are.

    Args:
        scheduler: anything with `add_noise`.
        latents: float (n, C, h, w), see `encode_latents`.
        noise: the same, standard normal.
        timestep: of the forward process, 0 to 999.
    """
    time = torch.full((len(latents),), timestep, device=latents.device)
    return torch.as_tensor(scheduler.add_noise(latents, noise.to(latents), time))
