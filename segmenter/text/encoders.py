"""Token ids in, what a model is conditioned on out, for one text encoder or two.

Stable Diffusion 1 and 2 read the last hidden state of one encoder. SDXL reads the
last but one of two, side by side, and beside them the second one's summary of the text
(arXiv 2307.01952, section 2); Stable Diffusion 3 the same and both summaries (arXiv
2403.03206, section 4). Axis letters:

    B  texts   K  tokens of the window   D  width of the context   P  of the summary
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEncoding:
    """Texts as a diffusion model takes them.

    Attributes:
        context: float (B, K, D), one embedding per token.
        pooled: float (B, P), a summary of each text; None where the model takes none.
        mask: bool (B, K), tokens that the model is shown; None for all, those that
            only fill the window among them.
    """

    context: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def sample(self, index: int) -> "TextEncoding":
        """One of the texts, a batch of one."""
        own = slice(index, index + 1)
        return TextEncoding(
            context=self.context[own],
            pooled=None if self.pooled is None else self.pooled[own],
            mask=None if self.mask is None else self.mask[own],
        )


class TextEncoder(Protocol):
    """The text side of a model."""

    @property
    def tokenizer(self) -> Any:
        """A fast tokenizer: it knows offsets, and its window (`model_max_length`)."""

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Tokenize and encode whole texts; what the window does not hold is cut."""

    def encode(self, token_ids: Tensor) -> TextEncoding:
        """Encode token ids: int64 (B, K), padded by the tokenizer."""


class TextEncoders:
    """CLIP's text encoders: a tokenizer and one encoder, or two."""

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        *,
        second_encoder: Any = None,
        second_padding_id: int = 0,
        sums_up_by_both: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            tokenizer: a fast CLIP tokenizer; of two, the first. Both have one
                vocabulary.
            encoder: transformers `CLIPTextModel`, or `CLIPTextModelWithProjection`.
            second_encoder: `CLIPTextModelWithProjection` of SDXL and later ones.
            second_padding_id: what the second tokenizer fills the window with.
            sums_up_by_both: `pooled` is of both encoders, side by side; else of the
                second.
        """
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.second_encoder = second_encoder
        self._second_padding_id = second_padding_id
        self._sums_up_by_both = sums_up_by_both

    @property
    def device(self) -> torch.device:
        """Where the encoders run."""
        return torch.device(self.encoder.device)

    @property
    def models(self) -> tuple[Any, ...]:
        """The one encoder, or both."""
        return (
            (self.encoder,)
            if self.second_encoder is None
            else (
                self.encoder,
                self.second_encoder,
            )
        )

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding:
        """Tokenize and encode whole texts; what the window does not hold is cut."""
        return self.encode(tokenize(self.tokenizer, texts)[0])

    @torch.no_grad()
    def encode(self, token_ids: Tensor) -> TextEncoding:
        """Encode token ids: int64 (B, K), padded by the (first) tokenizer."""
        ids = token_ids.to(self.device)
        if self.second_encoder is None:
            return TextEncoding(context=self.encoder(ids).last_hidden_state)
        first = self.encoder(ids, output_hidden_states=True)
        second = self.second_encoder(self._repadded(ids), output_hidden_states=True)
        summaries = [second.text_embeds]
        if self._sums_up_by_both:
            # A `CLIPTextModel` has no projection: what it would project is its own.
            own = first.get("text_embeds")
            summaries.insert(0, first.pooler_output if own is None else own)
        return TextEncoding(
            context=torch.cat(
                [first.hidden_states[-2], second.hidden_states[-2]], dim=-1
            ),
            pooled=torch.cat(summaries, dim=-1),
        )

    def _repadded(self, ids: Tensor) -> Tensor:
        """The same texts, filled up as the second tokenizer does.

        The first fills with the end token, whose first occurrence ends the text.
        """
        ended = (ids == self.tokenizer.eos_token_id).cumsum(dim=1)
        behind = (ended - (ids == self.tokenizer.eos_token_id).long()) > 0
        return torch.where(behind, self._second_padding_id, ids)


def tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Fill the text encoder's window: int64 (B, K), and (B, K, 2).

    Args:
        tokenizer: a fast CLIP tokenizer (it knows offsets).
        texts: B of them; what the window does not hold is cut.

    Returns:
        Token ids, padded; and the first and end character of each token.
    """
    encoded = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=int(tokenizer.model_max_length),
        return_offsets_mapping=True,
        return_tensors="pt",
        # "<|endoftext|>" in a text is text.
        split_special_tokens=True,
    )
    return encoded["input_ids"], encoded["offset_mapping"]
