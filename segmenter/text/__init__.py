"""Labels in, token embeddings and the positions of each label's tokens out.

Prompts (one label each, as the paper has them) and vocabularies (all labels in one
list). Refuses to know what a diffusion model does with a text.
"""

from segmenter.text.encoders import TextEncoder, TextEncoders, TextEncoding, tokenize
from segmenter.text.prompts import (
    EncodedPrompts,
    Prompt,
    build_prompt,
    check_label,
    embed_prompts,
    encode_prompts,
)
from segmenter.text.t5 import T5TextEncoder
from segmenter.text.vocabulary import Vocabulary, build_vocabulary

__all__ = [
    "EncodedPrompts",
    "Prompt",
    "T5TextEncoder",
    "TextEncoder",
    "TextEncoders",
    "TextEncoding",
    "Vocabulary",
    "build_prompt",
    "build_vocabulary",
    "check_label",
    "embed_prompts",
    "encode_prompts",
    "tokenize",
]
