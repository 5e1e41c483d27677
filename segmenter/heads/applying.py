"""Score maps of words and heads in, score maps of words and examples out.

Axis letters: L labels, h, w cells of the maps, v, u cells of the layers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.cell_graph import CellGraph
from segmenter.heads.cells import Cells
from segmenter.heads.examples import on_grid
from segmenter.heads.values import Heads, LabelHead
from segmenter.types import ScoreMaps

_Floats = NDArray[np.float32]

# Cells whose mean is what a head says of the whole image.
TOP_CELLS: Final = 16
_LEAST_SPAN: Final = 1e-6
# Of a walk along what is alike: chosen among 1 to 16 on training scenes, where 8 are
# worth 4 points of IoU to a label that 3 or 10 examples show, and 16 hardly more.
_STEPS: Final = 8


def apply_heads(maps: ScoreMaps, heads: Heads) -> ScoreMaps:
    """Let examples say of each label's map and presence what they are worth.

    Labels that the heads do not know, or know with weight 0, are untouched.

    Args:
        maps: of an image, a label each; with `layers` of the weights that the heads
            were fitted on.
        heads: of the labels.

    Raises:
        ValueError: if a head is to be applied and there are no layers.
    """
    taught = {one.label: one for one in heads.labels if one.weight_01 > 0}
    if not taught.keys() & set(maps.labels):
        return maps
    if maps.layers is None:
        raise ValueError(
            f"The score maps bring no layers, which the heads of "
            f"{', '.join(sorted(taught))} are applied to; score the image again."
        )
    places = [place for place, label in enumerate(maps.labels) if label in taught]
    found = [taught[maps.labels[place]] for place in places]
    cells = Cells(maps.layers)
    said = cells.scores(np.stack([head.direction for head in found]))
    said += np.array([head.offset for head in found], np.float32)[:, None, None]
    # As self-attention does for words: cells that are alike agree.
    graph = CellGraph(cells.directions())
    walked = graph.walk(said.reshape(len(found), -1).T, _STEPS).T.reshape(said.shape)
    scores, presence = maps.maps.copy(), maps.presence.copy()
    for place, head, first, last in zip(places, found, said, walked, strict=True):
        presence[place] = mixed_presence(head, first, float(presence[place]))
        scores[place] = mixed_map(head, last, scores[place])
    return replace(maps, maps=scores, presence=presence)


def blank_labels(maps: ScoreMaps, labels: Sequence[str]) -> ScoreMaps:
    """Append labels that no word stands for: maps of zeros, presence 0.

    Raises:
        ValueError: if one is there already, or twice among them.
    """
    names = (*maps.labels, *labels)
    if len(set(names)) < len(names):
        raise ValueError(f"A label would be there twice: {', '.join(names)}.")
    zeros = np.zeros((len(labels), *maps.maps.shape[1:]), np.float16)
    return replace(
        maps,
        labels=names,
        maps=np.concatenate([maps.maps, zeros]),
        presence=np.concatenate([maps.presence, np.zeros(len(labels), np.float32)]),
    )


def mixed_map(
    head: LabelHead, scores: _Floats, words: NDArray[np.float16 | np.float32]
) -> NDArray[np.float16]:
    """A label's map: float16 (h, w) in [0, 1], stretched to its full range.

    Args:
        head: of the label.
        scores: float32 (v, u), what it says of the cells.
        words: (h, w) in [0, 1], what the words say.
    """
    examples = on_grid(logistic(scores), (words.shape[0], words.shape[1]))
    both = head.weight_01 * examples + (1 - head.weight_01) * words.astype(np.float32)
    low, high = float(both.min()), float(both.max())
    if high - low < _LEAST_SPAN:
        return np.zeros(both.shape, np.float16)
    return np.asarray((both - low) / (high - low), np.float16)


def mixed_presence(head: LabelHead, scores: _Floats, words_01: float) -> float:
    """The probability that the label is in the image."""
    logit = head.presence @ np.array([1, log_odds(words_01), top(scores)], np.float32)
    return float(logistic(np.float32(logit)))


def top(scores: _Floats) -> float:
    """Mean of the highest scores of an image."""
    flat = np.sort(scores, axis=None)
    return float(flat[-TOP_CELLS:].mean())


def log_odds(p_01: float) -> float:
    """log(p / (1 - p)), of a probability kept from 0 and 1 by a twentieth."""
    p = min(max(p_01, 0.05), 0.95)
    return float(np.log(p / (1 - p)))


def logistic(values: NDArray[np.float32] | np.float32) -> _Floats:
    """1 / (1 + exp(-x)), for any x."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), np.float32)
