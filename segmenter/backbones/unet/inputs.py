"""What goes into a U-Net: noised latents, and what SDXL wants beside the text.

Axis letters: n windows of an image, C channels, Y, X model pixels, h, w latent cells
of a window; B texts, P width of a text's summary.
"""

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def encode_latents(vae: Any, pixels: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Encode: float (n, C, h, w) in the VAE's dtype, scaled for the U-Net.

    Args:
        vae: diffusers `AutoencoderKL`.
        pixels: float (n, 3, Y, X) in [-1, 1].
        jitter: float (n, C, h, w), standard normal, to take a sample of the posterior
            as the published code does; None takes its mean.
    """
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    clean = posterior.mean
    if jitter is not None:
        clean = clean + posterior.std * jitter.to(clean)
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


def added_conditions(
    unet: Any, pooled: Tensor | None, side_yx: tuple[int, int]
) -> dict[str, Tensor] | None:
    """What SDXL's U-Net wants beside the context; None for the others.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        pooled: float (B, P), `TextEncoding.pooled`.
        side_yx: rows and columns of the picture in pixels, taken for the original's,
            nothing of which is cut off.
    """
    if unet.config.addition_embed_type != "text_time" or pooled is None:
        return None
    sizes = torch.tensor([*side_yx, 0, 0, *side_yx], dtype=pooled.dtype)
    return {
        "text_embeds": pooled,
        "time_ids": sizes.to(pooled.device).expand(len(pooled), -1),
    }
