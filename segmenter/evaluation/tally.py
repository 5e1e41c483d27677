"""Records of images in, the figures of a data set out. Pure."""

from dataclasses import dataclass
from statistics import median

import numpy as np

from segmenter.evaluation.boundaries import BoundaryCounts
from segmenter.evaluation.counts import THRESHOLDS, IouCounts, SweepCounts
from segmenter.evaluation.records import Failure, ImageRecord, Record
from segmenter.evaluation.work import WorkCounts, WorkSaved


@dataclass(frozen=True, kw_only=True)
class PresenceScores:
    """How often the filter's word that a label is in the picture is right.

    Over all labels that were asked for; None where there was nothing to judge.

    Attributes:
        precision: of what it called present, the share that the truth shows.
        recall: of what the truth shows, the share that it called present.
        f1: the harmonic mean of both.
        exact: the share of images with every label judged rightly.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    exact: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A data set's figures; all shares in [0, 1].

    Attributes:
        n_counted: images that the figures are of.
        n_shown: labels that their truths show, each image for itself.
        failures: images that could not be counted.
        miou: at the options' threshold, background included.
        iou_of: each class's, None for one that never occurred.
        sweep: mIoU at each of `THRESHOLDS`.
        boundary_f: mean over the classes, background apart.
        boundary_f_of: each class's, None for one without a boundary.
        presence: of the filter.
        seconds_per_image: the median, None without an image.
        work: what the masks save a person, None where no image was asked for it.
    """

    n_counted: int
    n_shown: int
    failures: tuple[Failure, ...]
    miou: float
    iou_of: tuple[float | None, ...]
    sweep: tuple[float, ...]
    boundary_f: float
    boundary_f_of: tuple[float | None, ...]
    presence: PresenceScores
    seconds_per_image: float | None
    work: WorkSaved | None = None

    @property
    def oracle(self) -> tuple[float, float]:
        """The best threshold of the sweep, the lowest of equals, and its mIoU."""
        best = max(self.sweep)
        return THRESHOLDS[self.sweep.index(best)], best


class Tally:
    """Adds records up."""

    def __init__(self, n_classes: int, *, presence_threshold: float) -> None:
        """Start at zero.

        Args:
            n_classes: with the background.
            presence_threshold: from which presence on a label is called present.
        """
        self._presence_threshold = np.float32(presence_threshold)
        self._iou = IouCounts(n_classes)
        self._sweep = SweepCounts(n_classes)
        self._boundaries = BoundaryCounts(n_classes)
        self._work = WorkCounts(n_classes)
        self._is_work_counted = False
        self._seconds: list[float] = []
        self._failures: list[Failure] = []
        self._said = self._shown = self._rightly_said = self._exact = 0

    def add(self, record: Record) -> None:
        """Count one image; each but once."""
        if isinstance(record, Failure):
            self._failures.append(record)
            return
        self._iou.add_rows(record.iou)
        self._sweep.add_rows(record.sweep)
        self._boundaries.add_rows(record.boundaries)
        if record.work is not None:
            self._work.add_rows(record.work)
            self._is_work_counted = True
        self._seconds.append(record.seconds)
        self._add_presence(record)

    def _add_presence(self, record: ImageRecord) -> None:
        # As `masks` compares: float32 with float32.
        present = np.array(record.presence, np.float32) >= self._presence_threshold
        said = {
            number for number, yes in zip(record.asked, present, strict=True) if yes
        }
        shown = set(record.shown)
        self._said += len(said)
        self._shown += len(shown)
        self._rightly_said += len(said & shown)
        self._exact += said == shown

    def summary(self) -> Summary:
        """What has been added so far."""
        return Summary(
            n_counted=len(self._seconds),
            n_shown=self._shown,
            failures=tuple(self._failures),
            miou=self._iou.mean(),
            iou_of=_known(self._iou.per_class().tolist()),
            sweep=tuple(self._sweep.means(self._iou.truth_pixels()).tolist()),
            boundary_f=self._boundaries.mean(),
            boundary_f_of=_known(self._boundaries.per_class().tolist()),
            presence=self._presence(),
            seconds_per_image=median(self._seconds) if self._seconds else None,
            work=self._work.saved() if self._is_work_counted else None,
        )

    def _presence(self) -> PresenceScores:
        return PresenceScores(
            precision=_share(self._rightly_said, self._said),
            recall=_share(self._rightly_said, self._shown),
            # 2PR / (P + R), without dividing twice.
            f1=_share(2 * self._rightly_said, self._said + self._shown),
            exact=_share(self._exact, len(self._seconds)),
        )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _known(values: list[float]) -> tuple[float | None, ...]:
    """NaN, which JSON does not know, becomes None."""
    return tuple(None if np.isnan(value) else value for value in values)
