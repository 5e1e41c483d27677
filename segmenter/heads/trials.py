"""Images on which a head is tried that was fitted without them. Axis: v, u cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.applying import log_odds, mixed_map, mixed_presence, top
from segmenter.heads.cells import Cells
from segmenter.heads.examples import Example
from segmenter.heads.moments import Moments
from segmenter.heads.values import LabelHead

_Floats = NDArray[np.float32]

# Of masks as they are usually cut.
PRESENCE_THRESHOLD: Final = 0.3

# A label is tried on no more images than these, however many there are.
_MOST_SHOWING: Final = 100
_MOST_OTHERS: Final = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One label in one image.

    Attributes:
        scores: float32 (v, u), what a head says that never saw this image.
        words: float32 (v, u) in [0, 1], what the words say.
        words_01: presence, as the words say.
        cover: float32 (v, u) in [0, 1], the truth.
    """

    scores: _Floats
    words: _Floats
    words_01: float
    cover: _Floats

    @property
    def shows(self) -> bool:
        """Whether the label is there."""
        return bool(self.cover.any())

    @property
    def evidence(self) -> list[float]:
        """What presence is judged by; see `LabelHead.presence`."""
        return [1.0, log_odds(self.words_01), top(self.scores)]

    def overlap(
        self, head: LabelHead, threshold: float, *, presence_threshold: float = 0.0
    ) -> tuple[float, float]:
        """Cells of both mask and truth, and of either, under this head."""
        presence = mixed_presence(head, self.scores, self.words_01)
        if presence < presence_threshold:
            return 0.0, float(self.cover.sum())
        painted = mixed_map(head, self.scores, self.words) > threshold
        both = float(self.cover[painted].sum())
        return both, float(painted.sum() + self.cover.sum()) - both


def make_trials(
    examples: Sequence[Example], labels: Sequence[str], moments: Moments
) -> dict[str, list[Trial]]:
    """Try every label on the images that it was looked for in."""
    trials: dict[str, list[Trial]] = {label: [] for label in labels}
    rows = {label: row for row, label in enumerate(labels)}
    left = {(label, True): _MOST_SHOWING for label in labels}
    left |= {(label, False): _MOST_OTHERS for label in labels}
    for number, example in enumerate(examples):
        places = []
        for place, key in enumerate(
            zip(example.labels, example.shown.tolist(), strict=True)
        ):
            if left[key]:
                left[key] -= 1
                places.append(place)
        if not places:
            continue
        directions, offsets = moments.directions_without(number)
        own = [rows[example.labels[place]] for place in places]
        scores = Cells(example.values).scores(directions[own])
        scores += offsets[own][:, None, None]
        for place, found in zip(places, scores, strict=True):
            trials[example.labels[place]].append(
                Trial(
                    scores=found,
                    words=example.words[place] / np.float32(255),
                    words_01=float(example.presence[place]),
                    cover=example.shares[place],
                )
            )
    return trials
