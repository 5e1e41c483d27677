"""Text typed in the editor in, controls that look for it out. Pure.

A region needs a label of the config, so each phrase is drawn as one of them; the
others stay in the contest for pixels, because a phrase asked for alone has no rival.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from backend.types import Control, Label, TypedPrompt

# Between phrases: "cats, house", or "cat . house ." as for Grounding DINO.
_BETWEEN: Final = re.compile(r"[,;\n]|\.(?:\s|$)")
_WORD: Final = re.compile(r"\w+")


def controls_for(
    controls: Sequence[Control], typed: TypedPrompt
) -> tuple[Control, ...]:
    """The controls of the image that the text is about, looking for the text.

    Args:
        controls: of one task, each with at least one label.
        typed: in the editor.
    """
    phrases = [found for part in _BETWEEN.split(typed.text) if (found := part.strip())]
    return tuple(
        replace(control, labels=_labels_for(phrases, control.labels))
        for control in controls
        if control.image.name == typed.to_name and phrases
    )


def _labels_for(phrases: Sequence[str], labels: Sequence[Label]) -> tuple[Label, ...]:
    """One label for all phrases that are drawn as it; then all others, undrawn."""
    drawn: dict[str, Label] = {}
    for phrase in phrases:
        label, prompts = _label_for(phrase, labels)
        # Whoever types it sees it: nothing need be sure that it is in the picture.
        found = drawn.setdefault(
            label.name, replace(label, prompts=(), presence_threshold_01=0.0)
        )
        both = tuple(dict.fromkeys([*found.prompts, *prompts]))
        drawn[label.name] = replace(found, prompts=both)
    asked = {prompt for label in drawn.values() for prompt in label.prompts}
    rivals = [
        replace(label, is_drawn=False)
        for label in labels
        # One without words is no rival: no text says what it looks like.
        if label.prompts and label.name not in drawn and not asked & set(label.prompts)
    ]
    return (*drawn.values(), *rivals)


def _label_for(phrase: str, labels: Sequence[Label]) -> tuple[Label, Sequence[str]]:
    """The label that a phrase is drawn as, and what is looked for."""
    by_name = {_folded(label.name): label for label in reversed(labels)}
    same = by_name.get(_folded(phrase))
    if same is not None:
        return same, same.prompts or (phrase,)
    # "brown cat_cats": Grounding SAM's way to name the label.
    text, _, name = phrase.rpartition("_")
    named = by_name.get(_folded(name))
    if text.strip() and named is not None:
        return named, [text.strip()]
    words = set(_folded(phrase))
    in_phrase = [
        (len(shared), -place)
        for place, label in enumerate(labels)
        for known in (label.name, *label.prompts)
        if (shared := set(_folded(known))) and shared <= words
    ]
    return labels[-max(in_phrase)[1] if in_phrase else 0], [phrase]


def _folded(text: str) -> tuple[str, ...]:
    """Words without case and plural: "Cats" and "cat" are one."""
    words = _WORD.findall(text.casefold().replace("_", " ")) or [text.casefold()]
    return tuple(word.removesuffix("s") if len(word) > 2 else word for word in words)
