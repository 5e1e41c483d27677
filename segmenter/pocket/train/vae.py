"""Train the pocket autoencoder: 128 x 128 RGB to a 4 x 32 x 32 latent."""

import logging
from itertools import accumulate
from typing import Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from segmenter.pocket.train.data import (
    SIZE_PX,
    Average,
    SceneSet,
    steps_with_schedule,
    to_model_range,
)

logger = logging.getLogger(__name__)

# (share of the steps, crop side, batch): most of the learning is done on small,
# cheap crops; the last steps see what the encoder will see, whole pictures.
_STAGES: Final = ((0.86, 32, 16), (0.11, 64, 16), (0.03, SIZE_PX, 8))
_LEARNING_RATE: Final = 3e-3
_EDGE_WEIGHT: Final = 0.3
# Just enough to keep the latent bounded; a larger weight blurs the picture.
_KL_WEIGHT: Final = 4e-6


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder in Stable Diffusion's shape, 0.65 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        # One group: normalising few channels at a time erases a flat crop's colour.
        norm_num_groups=1,
        latent_channels=4,
        sample_size=SIZE_PX,
    )


def train_vae(scenes: SceneSet, *, n_steps: int, seed: int) -> AutoencoderKL:
    """Train on random crops; sets `scaling_factor` so that latents have unit spread."""
    torch.manual_seed(seed)
    vae = new_vae()
    vae.train()
    # Start nearly noise-free: a unit-variance posterior hides the picture for
    # the first thousand steps.
    torch.nn.init.constant_(vae.quant_conv.bias[4:], -6.0)
    optimizer = torch.optim.AdamW(vae.parameters(), _LEARNING_RATE, weight_decay=0.0)
    average = Average(vae)
    for step in steps_with_schedule(optimizer, n_steps, name="vae"):
        pictures = _random_crops(scenes.images, *_stage(step / n_steps))
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pictures).latent_dist
            decoded = vae.decode(posterior.sample()).sample
        decoded = decoded.float()
        error = F.l1_loss(decoded, pictures)
        colour = 0.5 * error + 2 * F.mse_loss(decoded, pictures)
        edges = _EDGE_WEIGHT * _edge_error(decoded, pictures)
        loss = colour + edges + _KL_WEIGHT * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update(step)
        if step % 200 == 0:
            logger.info(
                "vae step %d: l1 %.4f edges %.4f", step, error.item(), edges.item()
            )
    average.write_back()
    vae.eval()
    spread = encode_scenes(vae, scenes.images[:512]).float().std().item()
    vae.register_to_config(scaling_factor=1 / spread)
    return vae


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, images: Tensor, batch: int = 32) -> Tensor:
    """Posterior means, not yet scaled: uint8 (S, 3, Y, X) to float16 (S, 4, h, w)."""
    parts = []
    for start in range(0, len(images), batch):
        with torch.autocast("cpu", torch.bfloat16):
            pictures = to_model_range(images[start : start + batch])
            parts.append(vae.encode(pictures).latent_dist.mean.half())
    return torch.cat(parts)


def _stage(progress_01: float) -> tuple[int, int]:
    """(crop side in pixels, batch size) at a point of the training."""
    ends = accumulate(share for share, _, _ in _STAGES)
    current = next(i for i, end in enumerate(ends) if progress_01 < end or end > 0.999)
    return _STAGES[current][1:]


def _random_crops(images: Tensor, crop_px: int, batch: int) -> Tensor:
    chosen = torch.randint(len(images), (batch,))
    offsets = torch.randint(SIZE_PX - crop_px + 1, (batch, 2))
    crops = [
        images[i, :, y : y + crop_px, x : x + crop_px]
        for i, (y, x) in zip(chosen, offsets, strict=True)
    ]
    return to_model_range(torch.stack(crops))


def _edge_error(decoded: Tensor, truth: Tensor) -> Tensor:
    """L1 between neighbour differences: an outline blurred away costs more."""
    rows = F.l1_loss(decoded.diff(dim=2), truth.diff(dim=2))
    columns = F.l1_loss(decoded.diff(dim=3), truth.diff(dim=3))
    return rows + columns
