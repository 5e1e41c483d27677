"""Train the pocket U-Net and its text encoder on latents.

The loss is the denoising loss plus two alignment terms. On a model this small,
plain denoising did not bind words to places within hours of CPU time, so the
binding that Stable Diffusion learns from billions of pictures is taught here:

* cross: each cell's head-averaged attention goes to the tokens of the object
  that covers it, to the beginning-of-text token where there is none;
* self (latent resolution only): a cell attends to cells of its own object.

The model card says so too: the pocket model is a fixture, no evidence about
Stable Diffusion.
"""

import logging
import random
from dataclasses import dataclass
from typing import Final

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from segmenter.backbones import AttentionCall, attention_probabilities, capture
from segmenter.pocket.train.data import Average, SceneSet, steps_with_schedule
from segmenter.pocket.train.text import Caption, draw_caption

logger = logging.getLogger(__name__)

_BATCH: Final = 16
_LEARNING_RATE: Final = 1.5e-3
_CROSS_WEIGHT: Final = 0.1
_SELF_WEIGHT: Final = 0.05
# Cross layers at latent resolution are the noisiest in Stable Diffusion as well.
_FINEST_CROSS_WEIGHT: Final = 0.3
_OBJECT_TO_BACKGROUND: Final = 3.0
# Maps are read at t = 100, so half of the steps train near there.
_LOW_NOISE_01: Final = 0.5
_LOW_NOISE_STEPS: Final = 250
_SAMPLED_QUERIES: Final = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class TextToImage:
    """The parts that are trained together, and the schedule they share."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def new_text_to_image(tokenizer: CLIPTokenizer) -> TextToImage:
    """Untrained parts in Stable Diffusion's shape."""
    text_config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=96,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 96),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DCrossAttn",
        layers_per_block=1,
        cross_attention_dim=96,
        # diffusers' name for the number of heads, as in Stable Diffusion 1.5.
        attention_head_dim=2,
        norm_num_groups=8,
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )
    return TextToImage(
        unet=unet,
        text_encoder=CLIPTextModel(text_config),
        tokenizer=tokenizer,
        scheduler=scheduler,
    )


def train_diffusion(
    scenes: SceneSet,
    latents: Tensor,
    tokenizer: CLIPTokenizer,
    *,
    n_steps: int,
    seed: int,
) -> TextToImage:
    """Train U-Net and text encoder together.

    Args:
        scenes: what the latents show.
        latents: float16 (S, 4, h, w), posterior means times the scaling factor.
        tokenizer: the pocket tokenizer.
        n_steps: optimiser steps of 16 scenes.
        seed: of weights, captions, noise and order.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    parts = new_text_to_image(tokenizer)
    unet, text_encoder = parts.unet.train(), parts.text_encoder.train()
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, _LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
    )
    average = Average(unet, text_encoder, decay=0.998)
    for step in steps_with_schedule(optimizer, n_steps, name="diffusion", warmup=200):
        chosen = torch.randint(len(latents), (_BATCH,))
        captions = [draw_caption(scenes.words[i], rng) for i in chosen.tolist()]
        alignment = _Alignment(scenes.coverage[chosen].float(), captions, tokenizer)
        clean = latents[chosen].float()
        noise = torch.randn_like(clean)
        times = _draw_times(len(clean))
        noised = parts.scheduler.add_noise(clean, noise, times)
        with torch.autocast("cpu", torch.bfloat16), capture(unet, alignment.read):
            context = text_encoder(alignment.token_ids).last_hidden_state
            predicted = unet(noised, times, context).sample
        velocity = parts.scheduler.get_velocity(clean, noise, times)
        denoising = F.mse_loss(predicted.float(), velocity)
        cross, within = alignment.losses()
        loss = denoising + _CROSS_WEIGHT * cross + _SELF_WEIGHT * within
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update(step)
        if step % 100 == 0:
            logger.info(
                "diffusion step %d: denoising %.3f cross %.3f self %.3f",
                step,
                denoising.item(),
                cross.item(),
                within.item(),
            )
    average.write_back()
    unet.eval()
    text_encoder.eval()
    return parts


def _draw_times(batch: int) -> Tensor:
    low = torch.rand(batch) < _LOW_NOISE_01
    return torch.where(
        low,
        torch.randint(_LOW_NOISE_STEPS, (batch,)),
        torch.randint(1000, (batch,)),
    )


class _Alignment:
    """Reads attention during a training forward and scores it against the truth."""

    def __init__(
        self, coverage: Tensor, captions: list[Caption], tokenizer: CLIPTokenizer
    ) -> None:
        encoded = tokenizer(
            [caption.text for caption in captions],
            padding="max_length",
            max_length=77,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        self.token_ids: Tensor = encoded["input_ids"]
        background = (1 - coverage.sum(dim=1, keepdim=True)).clamp(min=0)
        # (B, 1 + N, h, w): shares of background and of each object, per cell
        self._segments = torch.cat([background, coverage], dim=1)
        self._named = token_owners(captions, encoded["offset_mapping"])
        self._latent_cells = coverage.shape[-2] * coverage.shape[-1]
        self._cross: list[Tensor] = []
        self._self: list[Tensor] = []

    def read(self, call: AttentionCall) -> None:
        """The reader for `capture`; keeps one loss per layer, with its graph."""
        if call.kind == "cross":
            self._cross.append(self._cross_loss(call))
        elif call.query.shape[2] == self._latent_cells:
            self._self.append(self._self_loss(call))

    def losses(self) -> tuple[Tensor, Tensor]:
        """Means over layers: (cross, self)."""
        return torch.stack(self._cross).mean(), torch.stack(self._self).mean()

    def _cross_loss(self, call: AttentionCall) -> Tensor:
        cells = call.query.shape[2]
        segments = self._segments_at(cells)  # (B, 1 + N, Q)
        attention = call.probabilities().mean(dim=1)  # (B, Q, K)
        per_segment = attention @ self._named.transpose(1, 2)  # (B, Q, 1 + N)
        has_token = self._named.amax(dim=2)  # (B, 1 + N)
        # What the caption leaves out counts as background.
        hidden = segments * (1 - has_token)[..., None]
        target = segments * has_token[..., None]
        target[:, 0] += hidden.sum(dim=1)
        weight = 1 + (_OBJECT_TO_BACKGROUND - 1) * (1 - target[:, 0])
        surprise = -(target.transpose(1, 2) * per_segment.clamp(min=1e-5).log())
        loss = (surprise.sum(dim=2) * weight).sum() / weight.sum()
        is_finest = cells == self._latent_cells
        return loss * (_FINEST_CROSS_WEIGHT if is_finest else 1.0)

    def _self_loss(self, call: AttentionCall) -> Tensor:
        segments = self._segments_at(call.query.shape[2])
        objectness = 1 - segments[:, 0]
        # Objects cover a sixth of a picture; draw about half the queries there.
        odds = 0.2 + objectness
        chosen = torch.multinomial(odds, _SAMPLED_QUERIES)  # (B, q)
        index = chosen[:, None, :, None].expand(
            -1, call.query.shape[1], -1, call.query.shape[3]
        )
        queries = call.query.gather(2, index)
        attention = attention_probabilities(queries, call.key, call.scale).mean(dim=1)
        own = segments.gather(
            2, chosen[:, None].expand(-1, segments.shape[1], -1)
        )  # (B, 1 + N, q)
        same = own.transpose(1, 2) @ segments  # (B, q, Q)
        mass = (attention * same).sum(dim=2)
        # Cells on an outline belong to two segments; count the clear ones.
        clear = (own.amax(dim=1) > 0.8).float()
        return (-mass.clamp(min=1e-5).log() * clear).sum() / clear.sum().clamp(min=1)

    def _segments_at(self, cells: int) -> Tensor:
        factor = round((self._latent_cells / cells) ** 0.5)
        pooled = F.avg_pool2d(self._segments, factor) if factor > 1 else self._segments
        return pooled.flatten(2)


def token_owners(captions: list[Caption], offsets: Tensor) -> Tensor:
    """Float (B, 1 + N, K): 1 where a token names a segment; segment 0 is BOS."""
    owners = torch.zeros(len(captions), 5, offsets.shape[1])
    owners[:, 0, 0] = 1
    for b, caption in enumerate(captions):
        for index, start, end in caption.spans:
            inside = (offsets[b, :, 0] >= start) & (offsets[b, :, 1] <= end)
            inside &= offsets[b, :, 1] > offsets[b, :, 0]
            owners[b, 1 + index, inside] = 1
    return owners
