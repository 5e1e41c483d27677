import numpy as np
import pytest

from segmenter.evaluation.records import Failure, ImageRecord
from segmenter.evaluation.tally import PresenceScores, Tally


def record(
    name: str = "a",
    *,
    asked: list[int] | None = None,
    presence: list[float] | None = None,
    shown: list[int] | None = None,
    seconds: float = 1,
    **rows: list[list[int]],
) -> ImageRecord:
    return ImageRecord(
        name=name,
        seconds=seconds,
        asked=asked or [],
        presence=presence or [],
        shown=shown or [],
        iou=rows.get("iou", []),
        sweep=rows.get("sweep", []),
        boundaries=rows.get("boundaries", []),
        work=rows.get("work"),
    )


def tally_of(*records: ImageRecord | Failure, threshold: float = 0.5) -> Tally:
    tally = Tally(4, presence_threshold=threshold)
    for each in records:
        tally.add(each)
    return tally


def test_labels_shown_are_counted_image_by_image() -> None:
    shown = tally_of(record(shown=[1, 2]), record(shown=[1]), record()).summary()

    assert (shown.n_counted, shown.n_shown) == (3, 3)


def test_presence_is_judged_over_all_labels_asked_for() -> None:
    presence = (
        tally_of(
            record(asked=[1, 2, 3], presence=[0.9, 0.5, 0.1], shown=[1]),
            record(asked=[1, 2, 3], presence=[0.4, 0.2, 0.6], shown=[1, 3]),
            record(asked=[2], presence=[0.7], shown=[2]),
        )
        .summary()
        .presence
    )

    # Said 1, 2 / 3 / 2; there 1 / 1, 3 / 2.
    assert presence.precision == pytest.approx(3 / 4)
    assert presence.recall == pytest.approx(3 / 4)
    assert presence.f1 == pytest.approx(3 / 4)
    assert presence.exact == pytest.approx(1 / 3)


def test_precision_and_recall_are_not_mixed_up() -> None:
    presence = (
        tally_of(record(asked=[1, 2, 3], presence=[1, 1, 1], shown=[2]))
        .summary()
        .presence
    )

    assert presence.precision == pytest.approx(1 / 3)
    assert presence.recall == 1
    assert presence.f1 == pytest.approx(2 * (1 / 3) / (4 / 3))
    assert presence.exact == 0


def test_presence_at_the_threshold_is_compared_as_the_masks_are() -> None:
    # In float64, float32's 0.7 is below 0.7.
    edge = float(np.float32(0.7))

    summary = tally_of(
        record(asked=[1], presence=[edge], shown=[1]), threshold=0.7
    ).summary()

    assert edge < 0.7
    assert summary.presence.recall == 1


def test_nothing_to_judge_is_unknown() -> None:
    summary = tally_of().summary()

    assert summary.presence == PresenceScores(
        precision=None, recall=None, f1=None, exact=None
    )
    assert summary.seconds_per_image is None
    assert summary.iou_of == summary.boundary_f_of == (None,) * 4


def test_images_add_up() -> None:
    summary = tally_of(
        record(iou=[[0, 0, 5], [1, 1, 3]], boundaries=[[1, 1, 2, 1, 2]], seconds=9),
        record("b", iou=[[1, 0, 1], [1, 1, 1]], boundaries=[[1, 1, 2, 3, 4]]),
        record("c", seconds=2),
    ).summary()

    assert summary.n_counted == 3
    assert summary.iou_of == (5 / 6, 4 / 5, None, None)
    assert summary.miou == pytest.approx((5 / 6 + 4 / 5) / 2)
    assert summary.boundary_f_of[1] == pytest.approx(
        2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3)
    )
    assert summary.boundary_f == summary.boundary_f_of[1]
    assert summary.seconds_per_image == 2


def test_work_is_added_up_and_unknown_where_it_was_not_counted() -> None:
    work = (
        tally_of(
            record(work=[[1, 1, 1, 0, 2, 30, 0, 8, 90, 0]]),
            record(
                "b",
                work=[[1, 1, 1, 1, 0, 0, 0, 4, 40, 1], [3, 1, 0, 0, 1, 0, 0, 0, 0, 0]],
            ),
            record("c", work=[]),
        )
        .summary()
        .work
    )

    assert tally_of(record()).summary().work is None
    assert work is not None
    assert (work.regions, work.accepted_090, work.accepted_095) == (3, 2 / 3, 1 / 3)
    assert work.images_untouched == pytest.approx(1 / 3)
    assert work.strokes_saved == pytest.approx(1 - 3 / 12)
    assert work.length_saved == pytest.approx(1 - 30 / 130)


def test_failures_are_listed_and_count_for_nothing_else() -> None:
    failure = Failure(name="b", reason="There is no file.")

    summary = tally_of(record(iou=[[1, 1, 3]]), failure).summary()

    assert summary.failures == (failure,)
    assert summary.n_counted == 1


def test_the_oracle_is_the_lowest_of_the_best_thresholds() -> None:
    # Class 1 wins three pixels: a false one that passes 0.02 to 0.2 (ten
    # thresholds), right ones that pass up to 0.4 (twenty) and up to 0.98.
    sweep = [[1, 10, 1, 0, 1], [1, 20, 1, 1, 0], [1, 49, 1, 1, 0]]

    summary = tally_of(record(iou=[[0, 0, 1], [1, 1, 2]], sweep=sweep)).summary()

    assert summary.oracle == (0.22, 1)
    assert summary.sweep[0] == pytest.approx((0 + 2 / 3) / 2)
    assert summary.sweep[-1] == pytest.approx((1 / 2 + 1 / 2) / 2)
