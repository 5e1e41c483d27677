"""What goes into a U-Net: noised latents, and what SDXL wants beside the text.

Axis letters: n windows of an image, C channels, Y, X model pixels, h, w latent cells
of a window; B texts, P width of a text's summary.
"""

from typing import Any

import torch
from torch import Tensor

from segmenter.backbones.latents import clean_latents


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
