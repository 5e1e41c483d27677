"""Train the pocket CLIP: which words are in a picture.

Two losses on the same cosine similarities: a picture's similarity to the prompts
of all words against which words it holds, and CLIP's own contrastive loss between
pictures and full captions.
"""

import random
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from segmenter.pocket import WORDS
from segmenter.pocket.train.data import (
    SIZE_PX,
    Average,
    SceneSet,
    steps_with_schedule,
    to_model_range,
)
from segmenter.pocket.train.patches import PATCH_PX, PatchLoss
from segmenter.pocket.train.text import PREFIXES

_BATCH: Final = 48
_LEARNING_RATE: Final = 1e-3
_CONTRASTIVE_WEIGHT: Final = 0.2


def new_image_processor() -> CLIPImageProcessorPil:
    """[-1, 1] at 128 x 128, squashed."""
    return CLIPImageProcessorPil(
        size={"height": SIZE_PX, "width": SIZE_PX},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP of 1.5 M parameters."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=96,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=4,
        num_attention_heads=5,
        image_size=SIZE_PX,
        patch_size=PATCH_PX,
        projection_dim=96,
    )
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=96)
    )


def train_clip(
    scenes: SceneSet, tokenizer: CLIPTokenizer, *, n_steps: int, seed: int
) -> CLIPModel:
    """Train image and text tower together."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    clip = new_clip(tokenizer).train()
    patch_loss = PatchLoss(scenes, clip.config.vision_config.hidden_size)
    parameters = [*clip.parameters(), *patch_loss.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=0.05)
    average = Average(clip, decay=0.998)
    truth = torch.tensor([[word in held for word in WORDS] for held in scenes.words])
    for step in steps_with_schedule(optimizer, n_steps, name="clip"):
        chosen = torch.randint(len(scenes.images), (_BATCH,))
        prefix = rng.choice(PREFIXES)
        prompts = [f"{prefix}{rng.choice(('', 'a '))}{word}" for word in WORDS]
        captions = [
            prefix + " and ".join(rng.sample(held, len(held)))
            for held in (scenes.words[i] for i in chosen.tolist())
        ]
        with torch.autocast("cpu", torch.bfloat16):
            tower = clip.get_image_features(to_model_range(scenes.images[chosen]))
            images = _unit(tower)
            texts = _unit(
                clip.get_text_features(**_tokens(tokenizer, prompts + captions))
            )
        scale = clip.logit_scale.exp()
        to_words = scale * images @ texts[: len(WORDS)].T
        to_captions = scale * images @ texts[len(WORDS) :].T
        target = truth[chosen].float()
        target /= target.sum(dim=1, keepdim=True)
        loss = F.cross_entropy(to_words, target)
        loss = loss + _CONTRASTIVE_WEIGHT * _contrastive(to_captions)
        loss = loss + patch_loss(chosen, tower.last_hidden_state)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        average.update(step)
    average.write_back()
    return clip.eval()


def _tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> dict[str, Tensor]:
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


def _unit(features: object) -> Tensor:
    return F.normalize(features.pooler_output.float(), dim=-1)  # type: ignore[attr-defined]


def _contrastive(similarities: Tensor) -> Tensor:
    own = torch.arange(len(similarities))
    return 0.5 * (
        F.cross_entropy(similarities, own) + F.cross_entropy(similarities.T, own)
    )
