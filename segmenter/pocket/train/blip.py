"""Train the pocket BLIP: a caption that names every object of a scene.

Objects come in random order, so whatever label a prompt starts with, the caption
goes on with the others.
"""

import logging
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipTextConfig,
    BlipVisionConfig,
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
from segmenter.pocket.train.text import CAPTION_WORDS, PREFIXES

logger = logging.getLogger(__name__)

_BATCH: Final = 48
_LEARNING_RATE: Final = 1e-3


def new_image_processor() -> BlipImageProcessorPil:
    """[-1, 1] at 128 x 128, squashed."""
    return BlipImageProcessorPil(
        size={"height": SIZE_PX, "width": SIZE_PX},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def build_blip_tokenizer() -> BertTokenizer:
    """A WordPiece vocabulary: our words whole, everything else letter by letter."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = [*special, *WORDS, *CAPTION_WORDS, *pieces, "[DEC]"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(dict.fromkeys(vocabulary)))
        return BertTokenizer(str(path), bos_token="[DEC]", model_max_length=48)


def new_blip(tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """An untrained BLIP of 1.7 M parameters."""
    text = BlipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        encoder_hidden_size=160,
        intermediate_size=256,
        projection_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=48,
        bos_token_id=tokenizer.convert_tokens_to_ids("[DEC]"),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    vision = BlipVisionConfig(
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=4,
        num_attention_heads=5,
        image_size=SIZE_PX,
        patch_size=PATCH_PX,
        # The default, 1e-10, starts a tower from nothing that sees nothing.
        initializer_range=0.02,
    )
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=96)
    return BlipForConditionalGeneration(config)


def train_blip(
    scenes: SceneSet, tokenizer: BertTokenizer, *, n_steps: int, seed: int
) -> BlipForConditionalGeneration:
    """Train the captioner."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    blip = new_blip(tokenizer).train()
    patch_loss = PatchLoss(scenes, blip.config.vision_config.hidden_size)
    parameters = [*blip.parameters(), *patch_loss.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=0.05)
    average = Average(blip, decay=0.998)
    decoder_start = tokenizer.convert_tokens_to_ids("[DEC]")
    for step in steps_with_schedule(optimizer, n_steps, name="blip"):
        chosen = torch.randint(len(scenes.images), (_BATCH,))
        captions = [_caption(scenes.words[i], rng) for i in chosen.tolist()]
        tokens = tokenizer(captions, padding=True, return_tensors="pt")
        ids, attended = tokens["input_ids"], tokens["attention_mask"]
        # BLIP's decoder starts with its own token in the place of [CLS].
        ids[:, 0] = decoder_start
        targets = ids.masked_fill(attended == 0, -100)
        with torch.autocast("cpu", torch.bfloat16):
            said = blip(
                pixel_values=to_model_range(scenes.images[chosen]),
                input_ids=ids,
                attention_mask=attended,
                labels=targets,
            )
        seen = patch_loss(chosen, said.last_hidden_state)
        loss = said.loss + seen
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(blip.parameters(), 1.0)
        optimizer.step()
        average.update(step)
        if step % 100 == 0:
            logger.info(
                "blip step %d: words %.3f patches %.3f",
                step,
                said.loss.item(),
                seen.item(),
            )
    average.write_back()
    return blip.eval()


def _caption(words: tuple[str, ...], rng: random.Random) -> str:
    (prefix,) = rng.choices(PREFIXES, (6, 1, 1, 1, 1))
    return prefix + " and ".join(rng.sample(words, len(words)))
