"""Captions of scenes, and the tokenizer that reads them."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from segmenter.pocket import WORDS

PREFIXES: Final = ("a photograph of ", "a photo of ", "there is ", "a picture of ", "")
# The paper's prompt is by far the most frequent request, so it is the most seen.
_PREFIX_WEIGHTS: Final = (5, 2, 1, 1, 1)
# fmt: off
CAPTION_WORDS: Final = (
    "a", "an", "and", "background", "in", "is", "of", "on", "photo", "photograph",
    "photography", "picture", "the", "there", "with",
)
# fmt: on

_EMPTY_01: Final = 0.10
_PARTIAL_01: Final = 0.40
_ABSENT_01: Final = 0.08
_ARTICLES_01: Final = 0.35
# Words of a list that are not in the picture: few, or most of the world's.
_FEW_ABSENT: Final = (0, 5)
_MANY_ABSENT: Final = (6, 20)
_MANY_ABSENT_01: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A caption and where each named object stands in it.

    Attributes:
        text: the caption.
        spans: per named object of the scene: (object index, first character,
            end character).
    """

    text: str
    spans: tuple[tuple[int, int, int], ...]


def draw_caption(words: Sequence[str], rng: random.Random) -> Caption:
    """A caption in BLIP's manner of some or all of a scene's objects.

    One in ten is empty, two in five leave objects out, and a few name a word
    that is not in the picture (no cell answers to it).
    """
    if rng.random() < _EMPTY_01:
        return Caption(text="", spans=())
    named = list(range(len(words)))
    rng.shuffle(named)
    if len(named) > 1 and rng.random() < _PARTIAL_01:
        named = named[: rng.randint(1, len(named) - 1)]
    entries: list[tuple[int | None, str]] = [(i, words[i]) for i in named]
    if rng.random() < _ABSENT_01:
        absent = rng.choice([word for word in WORDS if word not in words])
        entries.insert(rng.randint(0, len(entries)), (None, absent))
    return _join_sentence(entries, rng)


def draw_list(words: Sequence[str], rng: random.Random) -> Caption:
    """A list of labels, as requests come: all objects among words that are absent."""
    others = [word for word in WORDS if word not in words]
    many = rng.random() < _MANY_ABSENT_01
    n_absent = rng.randint(*(_MANY_ABSENT if many else _FEW_ABSENT))
    absent = rng.sample(others, min(n_absent, len(others)))
    entries = [*enumerate(words), *((None, word) for word in absent)]
    rng.shuffle(entries)
    return _join(entries, joint=rng.choice((", ", " ")))


def _join_sentence(
    entries: Sequence[tuple[int | None, str]], rng: random.Random
) -> Caption:
    (prefix,) = rng.choices(PREFIXES, _PREFIX_WEIGHTS)
    with_articles = rng.random() < _ARTICLES_01
    joint = rng.choice((" and ", " and ", ", "))
    return _join(entries, prefix=prefix, joint=joint, with_articles=with_articles)


def _join(
    entries: Sequence[tuple[int | None, str]],
    *,
    joint: str,
    prefix: str = "",
    with_articles: bool = False,
) -> Caption:
    text = prefix
    spans = []
    for place, (index, word) in enumerate(entries):
        if place:
            text += joint
        if with_articles:
            text += "an " if word[0] in "aeiou" else "a "
        if index is not None:
            spans.append((index, len(text), len(text) + len(word)))
        text += word
    return Caption(text=text, spans=tuple(spans))


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer of our own: every byte, and whole tokens for our words.

    Any text tokenizes (unknown words fall into byte pieces); the words of the
    pocket world and of its captions are one token each.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, *(f"{character}</w>" for character in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in (*WORDS, *CAPTION_WORDS):
        pieces = _apply_merges(word, merges)
        while len(pieces) > 1:
            # Appended merges rank last, so words merged before stay as they are.
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(dict.fromkeys(vocabulary))},
        merges=merges,
        model_max_length=77,
    )


def _apply_merges(word: str, merges: Iterable[tuple[str, str]]) -> list[str]:
    """Byte pair encoding of an ASCII word by the merges so far, in rank order."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    for left, right in merges:
        index = 0
        while index < len(pieces) - 1:
            if (pieces[index], pieces[index + 1]) == (left, right):
                pieces[index : index + 2] = [left + right]
            else:
                index += 1
    return pieces
