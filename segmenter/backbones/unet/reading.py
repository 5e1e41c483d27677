"""Noised latents and texts in, what the plan reads of one U-Net pass out."""

from collections.abc import Sequence
from typing import Any

import torch

from segmenter.backbones.cross_attention import LayerPlan, VocabularyKeys, read_pass
from segmenter.backbones.protocol import Sample, SampleReading
from segmenter.backbones.unet.inputs import added_conditions


def read_samples(
    unet: Any,
    samples: Sequence[Sample],
    plan: LayerPlan,
    keys: VocabularyKeys,
    *,
    timestep: int,
    cell_px: int,
) -> list[SampleReading]:
    """Run the U-Net on a batch, up to the last layer that the plan reads.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        samples: see `read_pass`, as the next two.
        plan: see there.
        keys: see there.
        timestep: the one that the latents were noised with.
        cell_px: pixels that a latent cell is wide.
    """
    # `unet.dtype` walks through all modules, each time.
    dtype = unet.conv_in.weight.dtype
    latents = torch.stack([sample.latent for sample in samples]).to(dtype)
    side_yx = (latents.shape[2] * cell_px, latents.shape[3] * cell_px)
    pooled = [s.text.pooled for s in samples if s.text.pooled is not None]

    def run() -> None:
        unet(
            latents,
            torch.full((len(samples),), timestep, device=latents.device),
            encoder_hidden_states=torch.cat([s.text.context for s in samples]),
            added_cond_kwargs=added_conditions(
                unet, torch.cat(pooled) if pooled else None, side_yx
            ),
            return_dict=False,
        )

    return read_pass(unet, run, samples, plan, keys)
