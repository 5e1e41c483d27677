"""Token ids in, what T5 makes of them out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segmenter.text.encoders import TextEncoding, tokenize


class T5TextEncoder:
    """T5's encoder, which shows a model the words and not what fills the window.

    See `TextEncoder`.
    """

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        """Put the parts together.

        Args:
            tokenizer: a fast T5 tokenizer.
            encoder: transformers `T5EncoderModel`.
        """
        self.tokenizer = tokenizer
        self.encoder = encoder

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Tokenize and encode whole texts; what the window does not hold is cut."""
        return self.encode(tokenize(self.tokenizer, texts)[0])

    @torch.no_grad()
    def encode(self, token_ids: Tensor) -> TextEncoding:
        """Encode token ids: int64 (B, K), padded by the tokenizer."""
        ids = token_ids.to(self.encoder.device)
        mask = ids != self.tokenizer.pad_token_id
        context = self.encoder(ids, attention_mask=mask.long()).last_hidden_state
        return TextEncoding(context=context, mask=mask)
