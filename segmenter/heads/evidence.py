"""Trials of a project's labels in, how presence is judged of each out.

A logistic regression per label, kept near to one that all labels share: what evidence
is worth is much the same for all. How high a head's best cells score where its label is
not there differs from head to head, and is told by many images, so it is taken out
first. Axis letter: T trials of a label.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.applying import log_odds
from segmenter.heads.trials import PRESENCE_THRESHOLD, Trial

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

# A label needs as many examples that show it before there is anything to fit.
LEAST_SHOWING: Final = 2
# Bias, and weights of the words' log-odds, above those of words that see nothing, and
# of the head's best cells, before there are examples; on pocket training scenes.
_PRIOR: Final = np.array([-4.5, 1.0, 1.5])
# How firmly a project's labels are kept near to that, and one label to all.
_PRIOR_WEIGHT: Final = np.array([10.0, 10.0, 10.0])
_OWN_WEIGHT: Final = np.array([1.0, 5.0, 5.0])
# So many images in which a label is as rare as labels are count beside its own: the
# first that is shown twice is so by chance.
_SHARED_IMAGES: Final = 20
# So many images' worth of other labels' spread counts beside a label's own.
_SHARED_SPREAD: Final = 5
# Log-odds in favour of a label that no words would draw.
_LENIENCE: Final = 0.5
_NO_WORDS: Final = log_odds(0.0)
_STEPS: Final = 200


def fit_presences(trials: Mapping[str, Sequence[Trial]]) -> dict[str, _Floats]:
    """Fit how presence is judged: bias and two weights each, see `LabelHead`.

    Args:
        trials: of all labels of the project; those that too few of them show have no
            presence, but tell how rare labels are, and how scores vary.
    """
    shown = {label: np.array([t.shows for t in own]) for label, own in trials.items()}
    n_shown = {label: int(of_label.sum()) for label, of_label in shown.items()}
    fitted = [label for label in trials if n_shown[label] >= LEAST_SHOWING]
    if not fitted:
        return {}
    wordless = {label for label in fitted if not words_find(trials[label])}
    evidence = {
        label: np.array([t.evidence for t in own]) - np.array([0, _NO_WORDS, 0])
        for label, own in trials.items()
        if n_shown[label]
    }
    for label in wordless:
        evidence[label][:, 1] = 0
    scales = _scales({label: own[~shown[label], 2] for label, own in evidence.items()})
    for label, (middle, spread) in scales.items():
        evidence[label][:, 2] = (evidence[label][:, 2] - middle) / spread
    shared = _logistic_fit(
        np.concatenate([evidence[label] for label in fitted]),
        np.concatenate([shown[label] for label in fitted]),
        _PRIOR,
        _PRIOR_WEIGHT,
    )
    prevalence_01 = float(np.concatenate(list(shown.values())).mean())
    found = {}
    for label in fitted:
        bias, words, top = _logistic_fit(
            evidence[label], shown[label], shared, _OWN_WEIGHT
        )
        bias += _rarity(n_shown[label], len(shown[label]), prevalence_01)
        if label in wordless:
            bias, words = bias + _LENIENCE, 0.0
        middle, spread = scales[label]
        bias -= words * _NO_WORDS + top * middle / spread
        found[label] = np.array([bias, words, top / spread], np.float32)
    return found


def words_find(trials: Sequence[Trial]) -> bool:
    """Whether words found a label in any image that shows it."""
    return any(trial.shows and trial.words_01 >= PRESENCE_THRESHOLD for trial in trials)


def _rarity(n_shown: int, n_images: int, prevalence_01: float) -> float:
    """What is added to log-odds that were fitted where a label was more often."""
    added = prevalence_01 * _SHARED_IMAGES
    odds = (n_shown + 0.5) / (n_images - n_shown + 0.5)
    shared = (n_shown + 0.5 + added) / (
        n_images - n_shown + 0.5 + _SHARED_IMAGES - added
    )
    return min(0.0, float(np.log(shared / odds)))


def _scales(of_absent: Mapping[str, _Doubles]) -> dict[str, tuple[float, float]]:
    """Mean and spread of scores by label, as far as its images tell; else of all."""
    some = [scores for scores in of_absent.values() if len(scores)]
    free = sum(len(scores) - 1 for scores in some)
    around = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in some)
    variance = max(around / max(free, 1), 1e-3)
    middle = float(np.mean([scores.mean() for scores in some])) if some else 0.0
    found = {}
    for label, scores in of_absent.items():
        total = float(((scores - scores.mean()) ** 2).sum()) if len(scores) else 0.0
        spread = (total + _SHARED_SPREAD * variance) / (len(scores) + _SHARED_SPREAD)
        found[label] = (
            float(scores.mean()) if len(scores) else middle,
            float(np.sqrt(spread)),
        )
    return found


def _logistic_fit(
    evidence: _Doubles, shown: NDArray[np.bool_], prior: _Doubles, weight: _Doubles
) -> _Doubles:
    """A logistic regression that keeps near to a prior: float64 (3,)."""
    found = prior.copy()
    # p (1 - p) is at most a quarter: no step is too long.
    curve = evidence.T @ evidence / 4 + np.diag(weight)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(evidence @ found, -30, 30)))
        slope = evidence.T @ (shown - p) - weight * (found - prior)
        found += np.linalg.solve(curve, slope)
    return found
