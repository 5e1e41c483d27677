import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter.evaluation.counts import IGNORED
from segmenter.evaluation.work import BrushWork, WorkCounts, WorkSaved

Classes = NDArray[np.uint8]


def nothing() -> Classes:
    return np.zeros((20, 30), np.uint8)


def line(number: int, row: int, n_columns: int = 20) -> Classes:
    """A class in one row: one stroke of that length from blank."""
    classes = nothing()
    classes[row, :n_columns] = number
    return classes


def counted(truth: Classes, predicted: Classes) -> WorkCounts:
    counts = WorkCounts(5)
    counts.add(truth, predicted)
    return counts


def test_a_region_that_is_right_costs_nothing_and_saves_all() -> None:
    counts = counted(line(1, 3), line(1, 3))

    assert counts.rows() == [[1, 1, 1, 1, 0, 0, 0, 1, 20, 0]]
    assert counts.saved().strokes_saved == counts.saved().length_saved == 1
    assert counts.saved().images_untouched == 1


def test_a_region_that_is_missing_costs_what_it_costs_from_blank() -> None:
    counts = counted(line(1, 3), nothing())

    assert counts.rows() == [[1, 1, 0, 0, 1, 20, 0, 1, 20, 0]]
    assert counts.saved().strokes_saved == counts.saved().length_saved == 0
    assert counts.saved().images_untouched == 0


def test_a_label_that_is_not_in_the_image_costs_a_stroke_to_delete() -> None:
    drawn = line(1, 3) + line(2, 7) + line(4, 9)

    counts = counted(line(1, 3), drawn)

    assert counts.rows()[1:] == [
        [2, 1, 0, 0, 1, 0, 0, 0, 0, 0],
        [4, 1, 0, 0, 1, 0, 0, 0, 0, 0],
    ]
    # Two strokes to delete where one from blank would have done.
    assert counts.saved().strokes_saved == -1
    assert counts.saved().length_saved == 1
    assert counts.saved().accepted_095 == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("n_right", "accepted"), [(17, (0, 0)), (18, (1, 0)), (19, (1, 1))]
)
def test_a_region_is_accepted_from_each_iou_on(
    n_right: int, accepted: tuple[int, int]
) -> None:
    saved = counted(line(1, 3), line(1, 3, n_right)).saved()

    assert (saved.accepted_090, saved.accepted_095) == accepted


def test_pixels_that_do_not_count_make_no_region_and_no_error() -> None:
    truth, drawn = line(1, 3), line(1, 3) + line(2, 9)
    truth[8:11], truth[3, 15:] = IGNORED, IGNORED

    assert counted(truth, drawn).rows() == [[1, 1, 1, 1, 0, 0, 0, 1, 15, 0]]


def test_a_region_that_no_limit_suffices_for_is_given_up() -> None:
    checkered = np.zeros((40, 60), np.uint8)
    checkered[::2, ::2] = 1

    saved = counted(checkered, np.zeros_like(checkered)).saved()

    assert saved.mended == saved.from_blank
    assert saved.mended.strokes == 100
    assert saved.mended.given_up == 1


def test_images_add_up() -> None:
    first = counted(line(1, 3) + line(2, 9, 10), line(1, 3))
    second = counted(line(1, 3), line(1, 3) + line(3, 9))
    third = counted(nothing(), nothing())
    added = WorkCounts(5)

    for counts in (first, second, third):
        added.add_rows(counts.rows())

    assert added.rows() == [
        [1, 2, 2, 2, 0, 0, 0, 2, 40, 0],
        [2, 1, 0, 0, 1, 10, 0, 1, 10, 0],
        [3, 1, 0, 0, 1, 0, 0, 0, 0, 0],
    ]
    assert added.saved() == WorkSaved(
        regions=4,
        accepted_090=0.5,
        accepted_095=0.5,
        images_untouched=pytest.approx(1 / 3),
        mended=BrushWork(strokes=2, length_px=10, given_up=0),
        from_blank=BrushWork(strokes=3, length_px=50, given_up=0),
    )
    assert added.saved().strokes_saved == pytest.approx(1 / 3)
    assert added.saved().length_saved == pytest.approx(4 / 5)


def test_what_was_never_counted_is_unknown() -> None:
    saved = WorkCounts(5).saved()

    assert saved.accepted_090 is saved.accepted_095 is saved.images_untouched is None
    assert saved.strokes_saved is saved.length_saved is None
