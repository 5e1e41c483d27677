"""An image in, a noised latent out, and the one U-Net forward that reads it.

Axis letters: B samples, C channels, Y, X model pixels, h, w latent grid.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.options import LatentKind


def to_model_input(pixels: NDArray[np.uint8], *, side_px: int) -> Tensor:
    """Squash an image to the model's square: float32 (1, 3, side, side) in [-1, 1].

    The aspect ratio is not kept, as published. Shrinking averages over all pixels
    it covers (antialias); the published code meets only images it enlarges, where
    this changes nothing.
    """
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    squashed = F.interpolate(
        image.float() / 255,
        (side_px, side_px),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    return squashed.clamp(0, 1) * 2 - 1


@torch.no_grad()
def noised_latent(
    vae: Any,
    scheduler: Any,
    pixels: Tensor,
    *,
    timestep: int,
    kind: LatentKind,
    seed: int,
) -> Tensor:
    """Encode and noise: float (1, C, h, w) in the VAE's dtype.

    Noise is drawn on the CPU in float32 from `seed`, so that every device and
    precision sees the same. One draw serves all labels of an image, as published.

    Args:
        vae: diffusers `AutoencoderKL`.
        scheduler: anything with `add_noise`.
        pixels: float (1, 3, Y, X) in [-1, 1].
        timestep: of the forward process, 0 to 999.
        kind: posterior mean, or one sample of it.
        seed: of noise and sample.
    """
    generator = torch.Generator().manual_seed(seed)
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    clean = posterior.mean
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    if kind == "sample":
        draw = torch.randn(clean.shape, generator=generator).to(clean)
        clean = clean + posterior.std * draw
    time = torch.tensor([timestep], device=clean.device)
    return torch.as_tensor(
        scheduler.add_noise(clean * vae.config.scaling_factor, noise, time)
    )


@torch.no_grad()
def forward_unet(unet: Any, latent: Tensor, timestep: int, context: Tensor) -> None:
    """One conditional forward for its attention; the predicted noise is dropped.

    Args:
        unet: diffusers `UNet2DConditionModel`, usually inside `attention.capture`.
        latent: (1, C, h, w), shared by all samples.
        timestep: the one the latent was noised with.
        context: (B, K, D) token embeddings, one row per label.
    """
    batch = latent.expand(len(context), -1, -1, -1)
    time = torch.full((len(context),), timestep, device=latent.device)
    unet(batch, time, encoder_hidden_states=context, return_dict=False)
