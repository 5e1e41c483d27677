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

from segmenter.heads.trials import Trial

_Floats = NDArray[np.float32]
_Doubles = NDArray[np.float64]

# Bias, and weights of the words' log-odds and of the head's best cells, before there
# are examples.
_PRIOR: Final = np.array([-1.0, 0.5, 1.0])
# How firmly a project's labels are kept near to that, and one label to all.
_PRIOR_WEIGHT: Final = np.array([0.05, 0.5, 0.5])
_OWN_WEIGHT: Final = np.array([0.5, 5.0, 5.0])
# What is taken from the log-odds of a label that one example showed, less for more:
# a head of few examples is tried on few images that show its label.
_CAUTION: Final = 0.5
# So many images' worth of other labels' spread counts beside a label's own.
_SHARED_SPREAD: Final = 5
_STEPS: Final = 200


def fit_presences(trials: Mapping[str, Sequence[Trial]]) -> dict[str, _Floats]:
    """Fit how presence is judged: bias and two weights each, see `LabelHead`."""
    if not trials:
        return {}
    evidence = {
        label: np.array([t.evidence for t in own]) for label, own in trials.items()
    }
    shown = {label: np.array([t.shows for t in own]) for label, own in trials.items()}
    scales = _scales({k: evidence[k][~shown[k], 2] for k in trials})
    for label, (middle, spread) in scales.items():
        evidence[label][:, 2] = (evidence[label][:, 2] - middle) / spread
    shared = _logistic_fit(
        np.concatenate(list(evidence.values())),
        np.concatenate(list(shown.values())),
        _PRIOR,
        _PRIOR_WEIGHT,
    )
    found = {}
    for label, (middle, spread) in scales.items():
        bias, words, top = _logistic_fit(
            evidence[label], shown[label], shared, _OWN_WEIGHT
        )
        bias -= _CAUTION / max(int(shown[label].sum()), 1)
        found[label] = np.array(
            [bias - top * middle / spread, words, top / spread], np.float32
        )
    return found


def _scales(of_absent: Mapping[str, _Doubles]) -> dict[str, tuple[float, float]]:
    """Mean and spread of scores by label, as far as its images tell; else of all."""
    everything = [
        scores - scores.mean() for scores in of_absent.values() if len(scores)
    ]
    common = np.concatenate([*everything, np.zeros(1)])
    variance = max(float((common**2).mean()), 1e-3)
    means = [float(scores.mean()) for scores in of_absent.values() if len(scores)]
    middle = float(np.mean(means)) if means else 0.0
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
