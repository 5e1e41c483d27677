"""CLIP's tokenizers, as several families of models have them."""

from typing import Any, Final

from transformers import CLIPTokenizer

from segmenter.source import ModelSource
from segmenter.weights import load_tokenizer, read_config

# "!", where CLIP's own tokenizer fills with its end token.
_PADDING_ID_OF_SDXL: Final = 0


def load_clip_tokenizer(source: ModelSource, folder: str, encoder: Any) -> Any:
    """The tokenizer in a folder, for the encoder that reads what it makes.

    Raises:
        WeightsNotFound: see `weights.load_tokenizer`.
    """
    return load_tokenizer(
        CLIPTokenizer,
        source,
        folder,
        vocabulary=encoder.config.vocab_size,
        window=encoder.config.max_position_embeddings,
    )


def padding_id(source: ModelSource, folder: str, tokenizer: Any) -> int:
    """What the second tokenizer fills the window with, SDXL's own if no file says."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if "pad_token" in (read_config(source, folder, name) or {}):
            return int(tokenizer.pad_token_id)
    return _PADDING_ID_OF_SDXL
