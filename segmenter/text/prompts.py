"""Labels in, prompts and token positions out.

Positions come from the tokenizer's own offsets, so a label of any number of
pieces is found wherever it stands; the published code reads fixed index 4.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from segmenter.errors import BadLabel
from segmenter.text.encoders import TextEncoder, TextEncoding, tokenize

logger = logging.getLogger(__name__)

# A word in "-ing" right behind the label ("dog running"): the paper's figure reads
# it along with the label, its code picks it by this ending.
_PARTICIPLE: Final = re.compile(r"\s*(\w+ing)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One label's prompt.

    Attributes:
        text: the whole prompt, without emphasis marks.
        label_span: first and end character of the label in `text`.
        participle_span: the same for a following "-ing" word, or None.
    """

    text: str
    label_span: tuple[int, int]
    participle_span: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPrompts:
    """Prompts as the text encoder takes them.

    Attributes:
        token_ids: int64 (B, K), padded to the window.
        emphasised: bool (B, K), the label's own tokens.
        read: float32 (B, K), weights of the tokens to read; rows sum to 1.
    """

    token_ids: Tensor
    emphasised: Tensor
    read: Tensor


def check_label(label: str) -> None:
    """Refuse a label without a readable character, or with one that is broken.

    Raises:
        BadLabel: naming it.
    """
    readable = any(character.isprintable() for character in label.strip())
    # Half a surrogate pair: JSON can carry one, no text encoder takes it.
    broken = any("\ud800" <= character <= "\udfff" for character in label)
    if broken or not readable:
        raise BadLabel(label)


def build_prompt(
    label: str, *, template: str, caption: str | None, read_participle: bool
) -> Prompt:
    """Fill the template, and let the captioner's continuation follow.

    Args:
        label: as the caller names it.
        template: text with one `{label}`.
        caption: what follows the filled template (the continuation only), or None.
        read_participle: look for an "-ing" word behind the label.
    """
    before, after = template.split("{label}")
    text = before + label + after
    label_span = (len(before), len(before) + len(label))
    if caption and caption.strip():
        text = f"{text} {caption.strip()}"
    match = _PARTICIPLE.match(text, label_span[1]) if read_participle else None
    return Prompt(
        text=text,
        label_span=label_span,
        participle_span=match.span(1) if match else None,
    )


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt]) -> EncodedPrompts:
    """Tokenize prompts and mark which tokens to emphasise and to read.

    All pieces of the label are averaged; where there is a participle, the mean of
    the label's pieces and the mean of the participle's count the same, which for
    single-token words is the paper's mean of indices 4 and 5.

    A prompt longer than the window loses its end. A label that alone is longer is
    read by its first tokens, with a warning.

    Args:
        tokenizer: a fast CLIP tokenizer (it knows offsets).
        prompts: B of them.

    Raises:
        BadLabel: if not one token falls on the label.
    """
    token_ids, offsets = tokenize(tokenizer, [prompt.text for prompt in prompts])
    emphasised = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    read = torch.zeros(offsets.shape[:2])
    for row, prompt in enumerate(prompts):
        on_label = tokens_in(offsets[row], prompt.label_span)
        if not on_label.any():
            raise BadLabel(prompt.text[slice(*prompt.label_span)])
        warn_if_cut(offsets[row], on_label, prompt.label_span)
        emphasised[row] = on_label
        groups = [on_label]
        if prompt.participle_span is not None:
            groups.append(tokens_in(offsets[row], prompt.participle_span))
        groups = [group for group in groups if group.any()]
        for group in groups:
            read[row, group] = 1 / (len(groups) * int(group.sum()))
    return EncodedPrompts(token_ids=token_ids, emphasised=emphasised, read=read)


def embed_prompts(
    text: TextEncoder, encoded: EncodedPrompts, *, emphasis: float
) -> TextEncoding:
    """Token embeddings with the label's tokens moved away from the empty prompt.

    compel's rule for weights above 1 (`++` is 1.1 squared): z <- z_empty +
    weight * (z - z_empty) at the emphasised positions, the others untouched.
    """
    plain = text.encode(encoded.token_ids)
    if emphasis == 1:
        return plain
    empty = text.encode_texts([""]).context
    moved = empty + emphasis * (plain.context - empty)
    emphasised = encoded.emphasised.to(moved.device)[..., None]
    return replace(plain, context=torch.where(emphasised, moved, plain.context))


def tokens_in(offsets: Tensor, span: tuple[int, int]) -> Tensor:
    """Mark the tokens that overlap the characters of `span`: bool (K,)."""
    start, end = span
    return (
        (offsets[:, 0] < end)
        & (offsets[:, 1] > start)
        & (offsets[:, 1] > offsets[:, 0])
    )


def warn_if_cut(offsets: Tensor, on_label: Tensor, span: tuple[int, int]) -> None:
    """Log that a label is longer than the window.

    Args:
        offsets: (K, 2) of its text's tokens.
        on_label: bool (K,), the label's own; at least one.
        span: first and end character of the label.
    """
    # The last place of a full window is the end-of-text token's.
    is_at_the_end = bool(on_label[-2])
    if is_at_the_end and int(offsets[on_label, 1].max()) < span[1]:
        logger.warning(
            "A label of %d characters does not fit into the %d tokens that the text "
            "encoder reads; its first %d tokens stand for it.",
            span[1] - span[0],
            len(offsets),
            int(on_label.sum()),
        )
