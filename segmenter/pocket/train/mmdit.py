"""Train the pocket MM-DiT, Stable Diffusion 3's kind, on latents.

The other pocket models' VAE and text encoders stay as they are. The loss is that of
flow matching plus two alignment terms on the joint attention of the one block that is
read; `diffusion` says why they are needed.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch.nn import functional as F

from segmenter.pocket.train.data import Average, SceneSet, steps_with_schedule
from segmenter.pocket.train.flow import Batch, FrozenText, Latents
from segmenter.pocket.train.joint_attention import watch
from segmenter.pocket.train.vae import encode_scenes

logger = logging.getLogger(__name__)

CELL_PX: Final = 8
"""Of a token: a patch of 2 x 2 latent cells."""

_LEARNING_RATE: Final = 1.2e-3
_TEXT_WEIGHT: Final = 1.0
_SELF_WEIGHT: Final = 0.5
_CHECKPOINT_EVERY: Final = 100


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Pictures of one shape in the training.

    Attributes:
        cells_yx: rows and columns of tokens.
        share_01: of the steps.
        scenes_01: of all scenes.
        batch: scenes in a step.
    """

    cells_yx: tuple[int, int]
    share_01: float
    scenes_01: float
    batch: int = 16


# Positions are learnt: trained on squares alone, it reads no other shape. The oblong
# ones are what a picture of 3 : 2 and one of 3 : 1 are read at.
SHAPES: Final = (
    Shape(cells_yx=(16, 16), share_01=0.70, scenes_01=0.66),
    Shape(cells_yx=(13, 20), share_01=0.09, scenes_01=0.10),
    Shape(cells_yx=(20, 13), share_01=0.09, scenes_01=0.10),
    Shape(cells_yx=(24, 24), share_01=0.06, scenes_01=0.06, batch=8),
    Shape(cells_yx=(9, 28), share_01=0.03, scenes_01=0.04),
    Shape(cells_yx=(28, 9), share_01=0.03, scenes_01=0.04),
)


def new_transformer() -> SD3Transformer2DModel:
    """An untrained transformer of 3.5 M parameters."""
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=192,
        caption_projection_dim=128,
        pooled_projection_dim=192,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
    )
    _quieten(transformer)
    return transformer


@torch.no_grad()
def _quieten(transformer: Any) -> None:
    """Start blocks open and modulation weak, which diffusers leaves to chance."""
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            norm.linear.weight.mul_(0.2)
            norm.linear.bias.zero_()
            chunks = norm.linear.bias.chunk(norm.linear.bias.numel() // 128)
            if len(chunks) == 6:
                # shift, scale, gate of attention; shift, scale, gate of the rest
                chunks[2].fill_(1)
                chunks[5].fill_(1)
    transformer.norm_out.linear.weight.mul_(0.2)
    transformer.norm_out.linear.bias.zero_()
    transformer.proj_out.weight.mul_(0.1)
    transformer.pos_embed.proj.weight.mul_(3)


def encode_shapes(vae: AutoencoderKL, n_scenes: int) -> list[Latents]:
    """Render and encode the training scenes of every shape, each from seeds of its own.

    Args:
        vae: the pocket model's.
        n_scenes: of all shapes, as many seeds from 0 up.
    """
    latents = []
    first_seed = 0
    for shape in SHAPES:
        rows, columns = shape.cells_yx
        scenes = SceneSet.render(
            max(1, round(n_scenes * shape.scenes_01)),
            first_seed=first_seed,
            cell_px=CELL_PX,
            size_yx=(rows * CELL_PX, columns * CELL_PX),
        )
        first_seed += len(scenes.words)
        clean = encode_scenes(vae, scenes.images) * vae.config.scaling_factor
        logger.info("mmdit: %d scenes of %s encoded", len(clean), shape.cells_yx)
        latents.append(
            Latents(clean=clean, coverage=scenes.coverage, words=scenes.words)
        )
    return latents


def train_mmdit(
    shapes: Sequence[Latents],
    text: FrozenText,
    *,
    n_steps: int,
    seed: int,
    checkpoint: Path | None = None,
) -> SD3Transformer2DModel:
    """Train the transformer.

    Args:
        shapes: one for each of `SHAPES`.
        text: of the other pocket models.
        n_steps: optimiser steps.
        seed: of weights, captions, noise and order.
        checkpoint: written every few minutes, and gone on from where it exists.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    transformer = new_transformer().train()
    read = watch(transformer)
    optimizer = torch.optim.AdamW(
        transformer.parameters(), _LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.02
    )
    average = Average(transformer)
    first = 0
    if checkpoint is not None and checkpoint.is_file():
        first = _resume(checkpoint, transformer, optimizer, average)
        rng.seed(f"{seed} {first}")
        torch.manual_seed(seed + first)
    for step in steps_with_schedule(optimizer, n_steps, name="mmdit", first=first):
        (number,) = rng.choices(range(len(SHAPES)), [s.share_01 for s in SHAPES])
        batch = Batch.draw(shapes[number], SHAPES[number].batch, text, rng)
        predicted = batch.predict(transformer)
        attention = read.take()
        flow = F.mse_loss(predicted, batch.velocity[batch.goes_on])
        to_text, within = batch.alignment(attention)
        loss = flow + _TEXT_WEIGHT * to_text + _SELF_WEIGHT * within
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        average.update(step)
        if step % 20 == 0:
            logger.info(
                "mmdit step %d: flow %.3f text %.3f self %.3f",
                step,
                flow.item(),
                to_text.item(),
                within.item(),
            )
        if checkpoint is not None and (step + 1) % _CHECKPOINT_EVERY == 0:
            _keep(checkpoint, step + 1, transformer, optimizer, average)
    average.write_back()
    return transformer.eval()


def _keep(path: Path, step: int, *parts: Any) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "step": step,
        **{str(i): part.state_dict() for i, part in enumerate(parts)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(path: Path, *parts: Any) -> int:
    """Read a checkpoint into the parts; the step to go on at."""
    state: Mapping[str, Any] = torch.load(path, weights_only=True)
    for i, part in enumerate(parts):
        part.load_state_dict(state[str(i)])
    return int(state["step"])
