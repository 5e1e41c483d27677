"""Corrections and heads of a project in, what they come to out. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from backend.feedback.types import Correction, OutcomeKind, RegionOutcome
from segmenter import Heads, LabelHead

# Of regions that were answered; the others were drawn by hand.
_ANSWERED: tuple[OutcomeKind, ...] = ("accepted", "corrected", "deleted", "relabelled")


@dataclass(frozen=True, kw_only=True)
class Regions:
    """What became of regions.

    Attributes:
        n_answered: that were predicted.
        n_drawn: that were drawn by hand.
        accepted_01: share of the predicted that nobody touched; None without any.
        iou_90_01: share whose submitted form has an IoU of 0.90 or more with the
            predicted one; None without any.
        iou_95_01: the same for 0.95.
        corrected_iou_01: mean IoU of those whose form was corrected; None without any.
    """

    n_answered: int
    n_drawn: int
    accepted_01: float | None
    iou_90_01: float | None
    iou_95_01: float | None
    corrected_iou_01: float | None


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """One label.

    Attributes:
        label: its name.
        regions: what became of its regions.
        n_examples: pictures that show it.
        n_counterexamples: pictures that do not, though it was looked for.
        examples_weight_01: of what examples say; what words say has the rest.
        expected_gain: in IoU, on pictures that were not learned from.
    """

    label: str
    regions: Regions
    n_examples: int = 0
    n_counterexamples: int = 0
    examples_weight_01: float = 0.0
    expected_gain: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ProjectSummary:
    """A whole project.

    Attributes:
        n_corrections: corrected tasks.
        n_pending: of which pictures are still to be read.
        regions: of all labels.
        labels: by name.
        lead_time_with_s: median of the time that people took from a prediction; None
            where Label Studio did not say.
        lead_time_without_s: the same from none.
    """

    n_corrections: int
    n_pending: int
    regions: Regions
    labels: tuple[LabelSummary, ...]
    lead_time_with_s: float | None
    lead_time_without_s: float | None


def summarise(corrections: Sequence[Correction], heads: Heads | None) -> ProjectSummary:
    """What corrections, and what was learned of them, come to."""
    outcomes = [outcome for one in corrections for outcome in one.outcomes]
    known = {head.label: head for head in heads.labels} if heads is not None else {}
    names = sorted({_answered_label(outcome) for outcome in outcomes} | known.keys())
    return ProjectSummary(
        n_corrections=len(corrections),
        n_pending=sum(one.is_pending for one in corrections),
        regions=_regions(outcomes),
        labels=tuple(
            _label(
                name,
                [one for one in outcomes if _answered_label(one) == name],
                known.get(name),
            )
            for name in names
        ),
        lead_time_with_s=_median_s(corrections, had_predictions=True),
        lead_time_without_s=_median_s(corrections, had_predictions=False),
    )


def _answered_label(outcome: RegionOutcome) -> str:
    """The label whose prediction it judges, or that was drawn."""
    return outcome.label_before or outcome.label


def _label(
    name: str, outcomes: Sequence[RegionOutcome], head: LabelHead | None
) -> LabelSummary:
    if head is None:
        return LabelSummary(label=name, regions=_regions(outcomes))
    return LabelSummary(
        label=name,
        regions=_regions(outcomes),
        n_examples=head.n_positive,
        n_counterexamples=head.n_negative,
        examples_weight_01=head.weight_01,
        expected_gain=head.expected_gain,
    )


def _regions(outcomes: Sequence[RegionOutcome]) -> Regions:
    answered = [one for one in outcomes if one.kind in _ANSWERED]
    # One with another label is wrong, however well its form was met.
    ious = [0.0 if one.kind == "relabelled" else one.iou for one in answered]
    return Regions(
        n_answered=len(answered),
        n_drawn=sum(one.kind == "drawn" for one in outcomes),
        accepted_01=_mean(one.kind == "accepted" for one in answered),
        iou_90_01=_mean(iou >= 0.90 for iou in ious),
        iou_95_01=_mean(iou >= 0.95 for iou in ious),
        corrected_iou_01=_mean(one.iou for one in answered if one.kind == "corrected"),
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _median_s(
    corrections: Sequence[Correction], *, had_predictions: bool
) -> float | None:
    times = [
        one.lead_time_s
        for one in corrections
        if one.lead_time_s is not None and one.had_predictions == had_predictions
    ]
    return median(times) if times else None
