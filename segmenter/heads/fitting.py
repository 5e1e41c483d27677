"""Examples in, a head for each of their labels out; the same whatever their order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.evidence import LEAST_SHOWING, fit_presences, words_find
from segmenter.heads.examples import Example
from segmenter.heads.moments import Moments
from segmenter.heads.trials import PRESENCE_THRESHOLD, Trial, make_trials
from segmenter.heads.values import Heads, LabelHead

_Floats = NDArray[np.float32]

_CUT_FROM: Final = 4
_WEIGHTS_01: Final = (0.25, 0.5, 0.75, 1.0)
_CUTS: Final[tuple[float, ...]] = tuple(np.linspace(-3, 3, 13).tolist())
# Standard errors that the gain of a label has to be above 0, for each example that
# shows it: of two or three the error is hardly known.
_LEAST_ERRORS_OF_ONE: Final = 3.0
# Before a label that words find is taught at all: fewer say little of where it is not.
_LEAST_IMAGES: Final = 12
# So many that show it teach a label that words never find: nothing else draws it, and
# the trials of three are of heads that two have taught.
_ENOUGH: Final = 3
_THRESHOLD: Final = 0.46


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
        if head.n_positive >= LEAST_SHOWING
    }
    presences = fit_presences(
        {**trials, **{label: own for label, (_, own) in cut.items()}}
    )
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
    both = _Overlaps(
        [
            trial.overlap(tried, _THRESHOLD, presence_threshold=PRESENCE_THRESHOLD)
            for trial in trials
        ]
    )
    words = _Overlaps([_words_alone(trial) for trial in trials])
    gain = both.iou - words.iou
    error = float(np.linalg.norm(both.errors - words.errors))
    is_worth_it = gain > _LEAST_ERRORS_OF_ONE / head.n_positive * error
    if words_find(trials):
        is_taught = is_worth_it and len(trials) >= _LEAST_IMAGES
    else:
        is_taught = is_worth_it or head.n_positive >= _ENOUGH
    return replace(tried, expected_gain=gain) if is_taught else head


class _Overlaps:
    """Of all images as if they were one.

    Attributes:
        iou: of all.
        errors: float64 (images,), what each has moved it by, as far as it is linear.
    """

    def __init__(self, overlaps: Sequence[tuple[float, float]]) -> None:
        both, either = np.array(overlaps).T
        total = max(float(either.sum()), 1e-9)
        self.iou = float(both.sum() / total)
        self.errors = (both - self.iou * either) / total


def _mean_iou(overlaps: Sequence[tuple[float, float]]) -> float:
    return float(np.mean([both / max(either, 1e-9) for both, either in overlaps]))


def _words_alone(trial: Trial) -> tuple[float, float]:
    shown = trial.words_01 >= PRESENCE_THRESHOLD
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
