"""BLIP continues a text about an image.

In the paper the continuation enriches a label's prompt: "a photograph of dog"
becomes "a photograph of dog and cat on grass", and what else is in the picture
gets words of its own to attract its pixels.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segmenter.presence.models import Captioner

# transformers' own default for BLIP; the published code leaves it untouched.
_NEW_TOKENS: Final = 20


@torch.no_grad()
def continue_texts(
    captioner: Captioner, pixels: NDArray[np.uint8], prefixes: Sequence[str]
) -> list[str]:
    """What the captioner says after each prefix (greedy, so deterministic).

    The image is encoded once for all prefixes; prefixes of the same number of
    tokens are continued together.

    Args:
        captioner: BLIP.
        pixels: uint8 (Y, X, 3).
        prefixes: beginnings of a caption; "" asks for a whole one.

    Returns:
        One continuation per prefix, without the prefix, possibly "".
    """
    model = captioner.model
    prepared = captioner.image_processor(Image.fromarray(pixels), return_tensors="pt")
    image = prepared["pixel_values"].to(model.device, model.dtype)
    seen = model.vision_model(image).last_hidden_state
    by_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    for index, prefix in enumerate(prefixes):
        ids = _prefix_ids(captioner, prefix)
        by_length[len(ids)].append((index, ids))
    continuations = [""] * len(prefixes)
    for length, entries in by_length.items():
        beginnings = torch.tensor([ids for _, ids in entries], device=model.device)
        tokens = _generate(captioner, seen.expand(len(entries), -1, -1), beginnings)
        texts = captioner.tokenizer.batch_decode(
            tokens[:, length:], skip_special_tokens=True
        )
        for (index, _), text in zip(entries, texts, strict=True):
            continuations[index] = text.strip()
    return continuations


def _prefix_ids(captioner: Captioner, prefix: str) -> list[int]:
    """Token ids with BLIP's own beginning-of-sequence token and no end."""
    config = captioner.model.config.text_config
    room = config.max_position_embeddings - _NEW_TOKENS - 1
    pieces = captioner.tokenizer(prefix, add_special_tokens=False)["input_ids"]
    return [config.bos_token_id, *pieces[:room]]


def _generate(
    captioner: Captioner, seen: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    config = captioner.model.config.text_config
    tokens = captioner.model.text_decoder.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        eos_token_id=config.sep_token_id,
        pad_token_id=config.pad_token_id,
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(
            seen.shape[:2], dtype=torch.long, device=seen.device
        ),
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
    )
    return torch.as_tensor(tokens)
