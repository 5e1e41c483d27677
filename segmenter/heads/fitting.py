"""Examples in, a head for each of their labels out; the same whatever their order.

A head's direction is Fisher's: where the mean of a label's cells lies from that of all
others, seen through how cells vary at all. What it is worth beside the words is tried
on images that it was not fitted on. Axis letters:

    n  cells of an image     E  numbers a cell     L  labels of all examples
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.applying import log_odds, mixed_map, mixed_presence, top
from segmenter.heads.examples import Example
from segmenter.heads.values import Heads, LabelHead

_Floats = NDArray[np.float32]

_FOLDS: Final = 5
_WEIGHTS_01: Final = (0.5, 1.0)
# Share of the mean variance that is added to each.
_RIDGE_01: Final = 0.05
_LEAST_GAIN: Final = 0.02
_THRESHOLD: Final = 0.46
_PRESENCE_THRESHOLD: Final = 0.3


@dataclass(eq=False)
class _Sums:
    """Of some examples: how cells vary, and the means of labels' cells and others."""

    gram: NDArray[np.float64]
    total: NDArray[np.float64]
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]

    def minus(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.gram - other.gram,
            self.total - other.total,
            self.inside - other.inside,
            self.outside - other.outside,
        )

    def directions(self) -> tuple[_Floats, _Floats]:
        """Directions (L, E) and offsets (L,); zeros where there is nothing to tell."""
        count = max(self.total[-1], 1)
        mean = self.total[:-1] / count
        spread = self.gram / count - np.outer(mean, mean)
        ridge = _RIDGE_01 * max(float(np.trace(spread)) / len(spread), 1e-9)
        known = (self.inside[:, -1] > 0) & (self.outside[:, -1] > 0)
        inside = self.inside[:, :-1] / np.maximum(self.inside[:, -1:], 1e-9)
        outside = self.outside[:, :-1] / np.maximum(self.outside[:, -1:], 1e-9)
        found = np.linalg.solve(
            spread + ridge * np.eye(len(spread)), (inside - outside).T
        ).T
        # 4 and -4 at the two means, which the logistic function makes 0.98 and 0.02.
        scale = 8 / np.maximum(((inside - outside) * found).sum(axis=1), 1e-9)
        found *= np.where(known, scale, 0)[:, None]
        offsets = -((inside + outside) / 2 * found).sum(axis=1)
        return found.astype(np.float32), offsets.astype(np.float32)


def fit_heads(examples: Sequence[Example]) -> Heads:
    """Fit a head for every label that an example shows.

    Args:
        examples: of one model's images; the same one twice counts once.

    Raises:
        ValueError: if their layers are of different widths.
    """
    unique = {example.to_bytes(): example for example in examples}
    ordered = [unique[packed] for packed in sorted(unique)]
    widths = {len(example.layers) for example in ordered}
    if len(widths) > 1:
        raise ValueError(
            f"The examples' layers have {sorted(widths)} numbers a cell; examples of "
            f"one model have as many. Make them anew."
        )
    names = sorted({label for example in ordered for label in example.labels})
    n_folds = min(_FOLDS, len(ordered))
    folds = [
        _gathered(ordered[number::n_folds], names, widths.copy().pop())
        for number in range(n_folds)
    ]
    heads = [_blank(name, ordered) for name in names]
    if n_folds < 2:
        return Heads(labels=tuple(heads))
    whole = folds[0]
    for one in folds[1:]:
        whole = _Sums(
            whole.gram + one.gram,
            whole.total + one.total,
            whole.inside + one.inside,
            whole.outside + one.outside,
        )
    held_out = [whole.minus(fold).directions() for fold in folds]
    final = whole.directions()
    chosen = []
    for row, head in enumerate(heads):
        if not head.n_positive:
            chosen.append(head)
            continue
        cases = [
            (example, example.labels.index(head.label), scores)
            for number, example in enumerate(ordered)
            if head.label in example.labels
            for directions, offsets in [held_out[number % n_folds]]
            for scores in [
                replace(
                    head, direction=directions[row], offset=float(offsets[row])
                ).scores(cells_of(example))
            ]
        ]
        fitted = replace(
            head,
            direction=final[0][row],
            offset=float(final[1][row]),
            presence=_fit_presence(cases),
        )
        chosen.append(_weighed(fitted, cases))
    return Heads(labels=tuple(chosen))


_Case = tuple[Example, int, _Floats]


def cells_of(example: Example) -> _Floats:
    """An example's layers: float32 (E, v, u)."""
    return example.layers * example.step[:, None, None]


def _blank(label: str, examples: Sequence[Example]) -> LabelHead:
    shown = [
        bool(example.covers[example.labels.index(label)].max(initial=0) > 127)
        for example in examples
        if label in example.labels
    ]
    width = len(examples[0].layers)
    return LabelHead(
        label=label,
        n_positive=sum(shown),
        n_negative=len(shown) - sum(shown),
        weight_01=0.0,
        expected_gain=0.0,
        direction=np.zeros(width, np.float32),
        offset=0.0,
        presence=np.zeros(3, np.float32),
    )


def _gathered(examples: Sequence[Example], names: Sequence[str], width: int) -> _Sums:
    sums = _Sums(
        np.zeros((width, width)),
        np.zeros(width + 1),
        np.zeros((len(names), width + 1)),
        np.zeros((len(names), width + 1)),
    )
    for example in examples:
        cells = cells_of(example).reshape(width, -1)
        sums.gram += cells @ cells.T
        with_one = np.concatenate([cells, np.ones((1, cells.shape[1]), np.float32)])
        sums.total += with_one.sum(axis=1)
        covers = example.covers.reshape(len(example.labels), -1) / np.float32(255)
        for label, cover in zip(example.labels, covers, strict=True):
            row = names.index(label)
            sums.inside[row] += with_one @ cover
            sums.outside[row] += with_one @ (1 - cover)
    return sums


def _fit_presence(cases: Sequence[_Case]) -> _Floats:
    """A logistic regression that starts from what the words say: float32 (3,)."""
    evidence = np.array(
        [
            [1, log_odds(float(example.presence[row])), top(scores)]
            for example, row, scores in cases
        ]
    )
    shown = np.array([example.covers[row].max() > 127 for example, row, _ in cases])
    start = np.array([0.0, 0.3, 0.5])
    found = start.copy()
    # A quarter bounds p (1 - p): each step is short enough to lead uphill.
    curve = evidence.T @ evidence / 4 + 0.2 * np.eye(3)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(evidence @ found, -30, 30)))
        slope = evidence.T @ (shown - p) - 0.2 * (found - start)
        found += np.linalg.solve(curve, slope)
    return found.astype(np.float32)


def _weighed(head: LabelHead, cases: Sequence[_Case]) -> LabelHead:
    """The weight with the best IoU over all cases; 0 where none is clearly better."""
    alone = _iou(replace(head, weight_01=0.0), cases)
    ious = {
        weight: _iou(replace(head, weight_01=weight), cases) for weight in _WEIGHTS_01
    }
    best = max(ious, key=lambda weight: ious[weight])
    gain = ious[best] - alone
    if gain < _LEAST_GAIN:
        return head
    return replace(head, weight_01=best, expected_gain=gain)


def _iou(head: LabelHead, cases: Sequence[_Case]) -> float:
    both = either = 0.0
    for example, row, scores in cases:
        cover = example.covers[row] / np.float32(255)
        words, words_01 = example.words[row] / np.float32(255), example.presence[row]
        presence = (
            mixed_presence(head, scores, float(words_01))
            if head.weight_01
            else float(words_01)
        )
        painted = mixed_map(head, scores, words) > _THRESHOLD
        painted &= presence >= _PRESENCE_THRESHOLD
        both += float(cover[painted].sum())
        either += float(cover[~painted].sum() + painted.sum())
    return both / max(either, 1e-9)
