"""Noised scenes with their captions, and how well a transformer answers to them.

Flow matching: latents lie on the straight way to noise, velocity is predicted. Axis
letters beside those of `data`:

    T  text tokens (77)          C  cells: tokens of the picture, each a patch of 2 x 2
    K  keys: cells, text tokens, and one for those of the absent T5     latent cells
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from segmenter.pocket.train.diffusion import token_owners
from segmenter.pocket.train.joint_attention import READ_BLOCK, TOKENS
from segmenter.pocket.train.text import Caption, draw_caption, draw_list

_PATCH: Final = 2
_OBJECT_TO_BACKGROUND: Final = 3.0
_CLEAR_01: Final = 0.8
_LISTS_01: Final = 0.4
# Maps are read at little noise, so half of the samples are drawn there.
_LOW_SIGMA: Final = (0.02, 0.35)


@dataclass(frozen=True, kw_only=True, eq=False)
class Latents:
    """What is learnt from, of one shape.

    Attributes:
        clean: float16 (S, 4, 2h, 2w), posterior means times the scaling factor.
        coverage: float16 (S, N, h, w), see `SceneSet`, per token.
        words: see `SceneSet`.
    """

    clean: Tensor
    coverage: Tensor
    words: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenText:
    """The text encoders of the other pocket models, which are not trained here."""

    tokenizer: CLIPTokenizer
    first: CLIPTextModel
    second: CLIPTextModelWithProjection

    @classmethod
    def load(cls, pocket: Path) -> "FrozenText":
        """Read both from the folder of the pocket model."""
        first = CLIPTextModel.from_pretrained(pocket / "text_encoder")
        second = CLIPTextModelWithProjection.from_pretrained(pocket / "image_text")
        return cls(
            tokenizer=CLIPTokenizer.from_pretrained(pocket / "tokenizer"),
            first=first.float().eval(),
            second=second.float().eval(),
        )

    @torch.no_grad()
    def encode(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Last but one states of both, side by side, and both pooled.

        Args:
            token_ids: int64 (B, T).

        Returns:
            float32 (B, T, 192) and (B, 192).
        """
        first = self.first(token_ids, output_hidden_states=True)
        second = self.second(token_ids, output_hidden_states=True)
        states = [first.hidden_states[-2], second.hidden_states[-2]]
        pooled = [first.pooler_output, second.text_embeds]
        return torch.cat(states, dim=-1), torch.cat(pooled, dim=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Noised scenes of one shape, their captions, and what is right.

    Attributes:
        noised: float32 (B, 4, 2h, 2w), on the straight way from latent to noise.
        sigma: float32 (B,) in [0, 1], how far on it.
        velocity: float32, as `noised`; what the transformer predicts.
        context: float32 (B, T + 1, 192); the last token stands for T5's.
        pooled: float32 (B, 192).
        segments: float32 (B, 1 + N, C), shares of background and of each object.
        owners: float32 (B, 1 + N, T), see `token_owners`.
    """

    noised: Tensor
    sigma: Tensor
    velocity: Tensor
    context: Tensor
    pooled: Tensor
    segments: Tensor
    owners: Tensor

    @classmethod
    def draw(
        cls, latents: Latents, size: int, text: FrozenText, rng: random.Random
    ) -> "Batch":
        """Draw scenes, captions, noise."""
        chosen = torch.randint(len(latents.clean), (size,))
        captions = [_caption(latents.words[i], rng) for i in chosen.tolist()]
        encoded = text.tokenizer(
            [caption.text for caption in captions],
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        context, pooled = text.encode(encoded["input_ids"])
        coverage = latents.coverage[chosen].float()
        background = (1 - coverage.sum(dim=1, keepdim=True)).clamp(min=0)
        clean = latents.clean[chosen].float()
        noise = torch.randn_like(clean)
        sigma = _draw_sigma(size)
        on_way = sigma[:, None, None, None]
        return cls(
            noised=(1 - on_way) * clean + on_way * noise,
            sigma=sigma,
            velocity=noise - clean,
            context=F.pad(context, (0, 0, 0, 1)),
            pooled=pooled,
            segments=torch.cat([background, coverage], dim=1).flatten(2),
            owners=token_owners(captions, encoded["offset_mapping"]),
        )

    @property
    def goes_on(self) -> slice:
        """The samples that go on behind the read block, at little noise and at any."""
        return slice(None, None, 2)

    def predict(self, transformer: Any) -> Tensor:
        """Velocity of the samples that go on: float (B / 2, 4, 2h, 2w)."""
        picture = transformer.pos_embed(self.noised)
        text = transformer.context_embedder(self.context)
        condition = transformer.time_text_embed(1000 * self.sigma, self.pooled)
        for number, block in enumerate(transformer.transformer_blocks):
            text, picture = block(picture, text, condition)
            if number == READ_BLOCK:
                picture, text = picture[self.goes_on], text[self.goes_on]
                condition = condition[self.goes_on]
        patches = transformer.proj_out(transformer.norm_out(picture, condition))
        rows, columns = (side // _PATCH for side in self.noised.shape[2:])
        patches = patches.unflatten(1, (rows, columns)).unflatten(
            3, (_PATCH, _PATCH, -1)
        )
        velocity: Tensor = patches.permute(0, 5, 1, 3, 2, 4).reshape(
            self.noised[self.goes_on].shape
        )
        return velocity

    def alignment(self, attention: Tensor) -> tuple[Tensor, Tensor]:
        """How little attention goes where it belongs: (to text, within the picture).

        Args:
            attention: float32 (B, C, K), rows of the picture, mean over heads. What a
                noisier sample shows counts for less.
        """
        cells = self.segments.shape[2]
        trust = (1 - self.sigma)[:, None]
        has_token = self.owners.amax(dim=2, keepdim=True)
        # What the caption leaves out counts as background.
        target = self.segments * has_token
        target[:, 0] += (self.segments * (1 - has_token)).sum(dim=1)
        to_text = attention[:, :, cells : cells + TOKENS]
        mass = (to_text @ self.owners.transpose(1, 2)).clamp(min=1e-5)
        surprise = -(target.transpose(1, 2) * mass.log()).sum(dim=2)
        weight = trust * (1 + (_OBJECT_TO_BACKGROUND - 1) * (1 - target[:, 0]))
        text_loss = (surprise * weight).sum() / weight.sum()

        same = self.segments.transpose(1, 2) @ self.segments
        within = (attention[:, :, :cells] * same).sum(dim=2).clamp(min=1e-5)
        # Cells on an outline belong to two segments; count the clear ones.
        clear = trust * (self.segments.amax(dim=1) > _CLEAR_01)
        self_loss = -(within.log() * clear).sum() / clear.sum()
        return text_loss, self_loss


def _caption(words: Sequence[str], rng: random.Random) -> Caption:
    draw = draw_list if rng.random() < _LISTS_01 else draw_caption
    return draw(words, rng)


def _draw_sigma(size: int) -> Tensor:
    low, high = _LOW_SIGMA
    half = size // 2
    little = low + (high - low) * torch.rand(half)
    return torch.cat([little, torch.randn(size - half).sigmoid()])
