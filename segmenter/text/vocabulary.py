"""Labels and background words in, the tokens that one pass is read for out.

All labels stand in one list, such as "cat, dog, tree". What does not fit into the text
encoder's window goes into further lists, chunks, which do not drive the pass: their
tokens are only read, on the queries of the same pass and in one softmax with the
first chunk's (dual prompt of FA-Seg, re-reading of OVAM; `algorithm` 4.2 in the
project's notes). Axis letters:

    C  chunks     K  tokens of a window     T  tokens that are read     R  rows read
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segmenter.errors import BadLabel
from segmenter.text.encoders import tokenize
from segmenter.text.prompts import tokens_in, warn_if_cut

# A caption may take this share of the first chunk.
_CAPTION_01 = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """What one pass is read for.

    Attributes:
        token_ids: int64 (C, K), padded to the window; the first chunk drives the
            pass.
        kept: bool (C, K), the T tokens that share the softmax: all of the first
            chunk, and of the others those that belong to a label.
        read: float32 (R, T), weights of the tokens to read, rows sum to 1: the
            labels, then the background words, then the start token, or the end token
            of a tokenizer that has no other.
        n_labels: how many of the rows are labels.
    """

    token_ids: Tensor
    kept: Tensor
    read: Tensor
    n_labels: int


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    """One list: its text, and each word's row and first and end character."""

    text: str
    spans: tuple[tuple[int, tuple[int, int]], ...]


def build_vocabulary(
    tokenizer: Any,
    labels: Sequence[str],
    *,
    background_words: Sequence[str] = (),
    caption: str = "",
    separator: str = ", ",
) -> Vocabulary:
    """Arrange labels in chunks and find their tokens.

    A label that alone is longer than the window is read by its first tokens, with a
    warning.

    Args:
        tokenizer: a fast CLIP tokenizer (it knows offsets).
        labels: at least one, each once.
        background_words: those that are no labels stand in the first chunk.
        caption: precedes the first chunk; its end is cut where it is long.
        separator: stands between words.

    Raises:
        BadLabel: if not one token falls on a label.
        ValueError: if the background words leave no room for labels.
    """
    taken = {label.casefold() for label in labels}
    words = [word for word in background_words if word.casefold() not in taken]
    chunks = _arrange(tokenizer, list(labels), words, caption, separator)
    token_ids, offsets = tokenize(tokenizer, [chunk.text for chunk in chunks])
    rows = torch.zeros(len(labels) + len(words) + 1, *token_ids.shape)
    for number, chunk in enumerate(chunks):
        for row, span in chunk.spans:
            own = tokens_in(offsets[number], span)
            if not own.any():
                raise BadLabel(chunk.text[slice(*span)])
            warn_if_cut(offsets[number], own, span)
            rows[row, number, own] = 1 / int(own.sum())
    rows[-1, 0, _start(tokenizer, token_ids[0])] = 1
    kept = (rows > 0).any(dim=0)
    kept[0] = True
    return Vocabulary(
        token_ids=token_ids,
        kept=kept,
        read=rows[:, kept],
        n_labels=len(labels),
    )


def _start(tokenizer: Any, token_ids: Tensor) -> int:
    """The place of the token that draws what no word names.

    CLIP's texts begin with it. T5's begin with a word, and end with the only token
    that is none.
    """
    if tokenizer.bos_token_id is not None:
        return 0
    return int((token_ids == tokenizer.eos_token_id).nonzero()[0])


def _arrange(
    tokenizer: Any, labels: list[str], words: list[str], caption: str, separator: str
) -> list[_Chunk]:
    """Fill chunk after chunk; the background words go into the first."""
    # Less start and end token, or only the end token.
    room = int(tokenizer.model_max_length) - tokenizer.num_special_tokens_to_add()
    prefix = _shortened(tokenizer, caption, int(room * _CAPTION_01))
    sizes = _token_counts(tokenizer, [*labels, *words], separator)
    first_room = room - sum(sizes[len(labels) :])
    if prefix:
        first_room -= _token_counts(tokenizer, [prefix], separator)[0]
    if first_room < 1:
        raise ValueError(
            f"The {len(words)} background words take {room - first_room} of the {room} "
            f"tokens that the text encoder reads; give fewer."
        )
    groups: list[list[int]] = [[]]
    left = first_room
    for row, size in enumerate(sizes[: len(labels)]):
        if groups[-1] and size > left:
            groups.append([])
            left = room
        groups[-1].append(row)
        left -= size
    groups[0] += range(len(labels), len(labels) + len(words))
    texts = [*labels, *words]
    return [
        _join([(row, texts[row]) for row in group], "" if number else prefix, separator)
        for number, group in enumerate(groups)
    ]


def _join(words: Sequence[tuple[int, str]], prefix: str, separator: str) -> _Chunk:
    text = prefix
    spans = []
    for row, word in words:
        if text:
            text += separator
        spans.append((row, (len(text), len(text) + len(word))))
        text += word
    return _Chunk(text=text, spans=tuple(spans))


def _shortened(tokenizer: Any, text: str, most_tokens: int) -> str:
    text = text.strip()
    if not text:
        return ""
    offsets = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]
    return text if len(offsets) <= most_tokens else text[: offsets[most_tokens - 1][1]]


def _token_counts(tokenizer: Any, words: Sequence[str], separator: str) -> list[int]:
    """Tokens of each word and the separator behind it."""
    encoded = tokenizer(
        [word + separator for word in words],
        add_special_tokens=False,
        split_special_tokens=True,
        # What is too long is cut and told of elsewhere.
        verbose=False,
    )
    return [len(ids) for ids in encoded["input_ids"]]
