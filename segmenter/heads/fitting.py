"""Examples in, a head for each of their labels out; the same whatever their order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.evidence import fit_presences
from segmenter.heads.examples import Example
from segmenter.heads.moments import Moments
from segmenter.heads.trials import Trial, make_trials
from segmenter.heads.values import Heads, LabelHead

_Floats = NDArray[np.float32]

_LEAST_SHOWING: Final = 2
_CUT_FROM: Final = 4
_WEIGHTS_01: Final = (0.25, 0.5, 0.75, 1.0)
_CUTS: Final[tuple[float, ...]] = tuple(np.linspace(-3, 3, 13).tolist())
# In IoU: with many examples, and what one alone would have to bring beside.
_LEAST_GAIN: Final = 0.01
_LEAST_GAIN_OF_ONE: Final = 0.05
# And so many times what words find alone, which two or three examples may be wrong
# about: less by their square.
_AT_STAKE: Final = 1.5
_THRESHOLD: Final = 0.46
_PRESENCE_THRESHOLD: Final = 0.3


def fit_heads(examples: Sequence[Example]) -> Heads:
    """Fit a head for every label that an example was looked at for.

    Args:
        examples: of one model's images; the same one twice counts once.
    """
    unique = {example.to_bytes(): example for example in examples}
    ordered = [unique[packed] for packed in sorted(unique)]
    names = sorted({label for example in ordered for label in example.labels})
    if not names:
        return Heads(labels=())
    moments = Moments(ordered, names)
    trials = make_trials(ordered, names, moments)
    directions, offsets = moments.directions()
    heads = [
        LabelHead(
            label=name,
            n_positive=_count(ordered, name, shown=True),
            n_negative=_count(ordered, name, shown=False),
            weight_01=0.0,
            expected_gain=0.0,
            direction=directions[row],
            offset=float(offsets[row]),
            presence=np.zeros(3, np.float32),
        )
        for row, name in enumerate(names)
    ]
    return Heads(labels=tuple(weigh_heads(heads, trials)))


def weigh_heads(
    heads: Sequence[LabelHead], trials: Mapping[str, Sequence[Trial]]
) -> list[LabelHead]:
    """Cut, presence and weight of each head as they are best over its trials."""
    cut = {
        head.label: _with_cut(head, trials[head.label])
        for head in heads
        if head.n_positive >= _LEAST_SHOWING
    }
    presences = fit_presences({label: own for label, (_, own) in cut.items()})
    found = []
    for head in heads:
        if head.label in cut:
            moved, own = cut[head.label]
            head = _weighed(replace(moved, presence=presences[head.label]), own)
        found.append(head)
    return found


def _with_cut(
    head: LabelHead, trials: Sequence[Trial]
) -> tuple[LabelHead, list[Trial]]:
    """Scores moved so that 0 is where a label's cells are told best from others."""
    showing = [trial for trial in trials if trial.shows]
    # A head that is fitted without one of few examples scores lower than the whole.
    cut = _best_cut(showing) * max(0.0, 1 - _CUT_FROM / len(showing))
    moved = [replace(trial, scores=trial.scores - np.float32(cut)) for trial in trials]
    return replace(head, offset=head.offset - cut), moved


def _count(examples: Sequence[Example], label: str, *, shown: bool) -> int:
    return sum(
        bool(example.shown[example.labels.index(label)]) == shown
        for example in examples
        if label in example.labels
    )


def _weighed(head: LabelHead, trials: Sequence[Trial]) -> LabelHead:
    """The weight with the best masks; 0 where words alone are as good, all in all."""
    showing = [trial for trial in trials if trial.shows]
    tried = max(
        (replace(head, weight_01=weight) for weight in _WEIGHTS_01),
        key=lambda one: _mean_iou(
            [trial.overlap(one, _THRESHOLD) for trial in showing]
        ),
    )
    both = [
        trial.overlap(tried, _THRESHOLD, presence_threshold=_PRESENCE_THRESHOLD)
        for trial in trials
    ]
    words = _iou([_words_alone(trial) for trial in trials])
    gain = _iou(both) - words
    few = 1 / head.n_positive
    at_stake = _AT_STAKE * words * few
    if gain <= _LEAST_GAIN + (_LEAST_GAIN_OF_ONE + at_stake) * few:
        return head
    return replace(tried, expected_gain=gain)


def _iou(overlaps: Sequence[tuple[float, float]]) -> float:
    """Over all images as if they were one."""
    both, either = np.sum(overlaps, axis=0)
    return float(both / max(either, 1e-9))


def _mean_iou(overlaps: Sequence[tuple[float, float]]) -> float:
    return float(np.mean([both / max(either, 1e-9) for both, either in overlaps]))


def _words_alone(trial: Trial) -> tuple[float, float]:
    shown = trial.words_01 >= _PRESENCE_THRESHOLD
    painted = (trial.words > _THRESHOLD) & shown
    both = float(trial.cover[painted].sum())
    return both, float(painted.sum() + trial.cover.sum()) - both


def _best_cut(trials: Sequence[Trial]) -> float:
    """The score above which a cell is the label's, where the label is there."""

    def iou(cut: float) -> float:
        both = either = 0.0
        for trial in trials:
            painted = trial.scores > cut
            own = float(trial.cover[painted].sum())
            both += own
            either += float(painted.sum() + trial.cover.sum()) - own
        return both / max(either, 1e-9)

    def worth(cut: float) -> float:
        # Of two that are as good the one nearer to the middle.
        return iou(cut) - 0.003 * cut * cut

    return max(_CUTS, key=worth)
