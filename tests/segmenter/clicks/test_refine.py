import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segmenter import BadClick, Box, Click, cut_masks
from tests.segmenter.clicks.scenes import (
    PRESENCE,
    SIZE_YX,
    THRESHOLD,
    Bools,
    Known,
    iou,
    known,
    on,
    refine,
)

WHOLE = np.ones(SIZE_YX, np.bool_)
EMPTY = np.zeros(SIZE_YX, np.bool_)
CORNERS = [(0.0, 0.0), (0.0, 95.9), (59.9, 0.0), (59.9, 95.9)]


@pytest.mark.parametrize("label", [0, None], ids=["label", "no-label"])
def test_a_click_on_an_object_finds_it_and_no_other(label: int | None) -> None:
    scene = known()

    mask = refine(scene, on(scene.red), label=label)

    assert mask.dtype == np.bool_
    assert mask.shape == SIZE_YX
    assert iou(mask, scene.red) > 0.9
    assert not (mask & scene.blue).any()


def test_rows_and_columns_are_kept_apart() -> None:
    scene = known((96, 60))

    assert iou(refine(scene, on(scene.red)), scene.red) > 0.9


def test_a_click_is_answered_without_maps_and_without_features() -> None:
    scene = known()

    without_maps = refine(scene, on(scene.red), is_blind=True)
    without_features = refine(
        scene, on(scene.red), maps=replace(scene.maps, features=None), label=None
    )

    for mask in (without_maps, without_features):
        assert mask[30, 24]
        assert not (mask & scene.blue).any()
        assert (mask & ~scene.red).sum() < 0.1 * scene.red.sum()


def test_without_clicks_and_boxes_the_start_is_the_answer() -> None:
    scene = known()
    start = scene.blue | (np.random.default_rng(1).random(SIZE_YX) < 0.1)

    found = refine(scene, start=start)

    np.testing.assert_array_equal(found, start)
    assert found is not start
    assert not refine(scene).any()


@pytest.mark.parametrize("start", [None, EMPTY, WHOLE], ids=["none", "empty", "whole"])
@pytest.mark.parametrize("is_positive", [True, False])
@pytest.mark.parametrize(("y", "x"), CORNERS)
def test_a_click_holds_where_it_lies_even_in_a_corner(
    y: float, x: float, is_positive: bool, start: np.ndarray | None
) -> None:
    scene = known()

    mask = refine(scene, Click(y=y, x=x, is_positive=is_positive), start=start)

    assert mask[int(y), int(x)] == is_positive


def test_all_clicks_hold_whatever_they_say() -> None:
    scene = known()
    rng = np.random.default_rng(2)
    clicks = [
        Click(y=y + 0.5, x=x + 0.5, is_positive=bool(rng.random() < 0.5))
        for y, x in {tuple(rng.integers(0, SIZE_YX).tolist()) for _ in range(20)}
    ]

    mask = refine(scene, *clicks, start=scene.blue)

    for click in clicks:
        assert mask[int(click.y), int(click.x)] == click.is_positive


def test_the_newest_of_two_clicks_in_one_place_holds() -> None:
    scene = known()
    there = on(scene.red)

    assert not refine(scene, there, replace(there, is_positive=False))[30, 24]
    assert refine(scene, replace(there, is_positive=False), there)[30, 24]


def test_a_negative_click_takes_a_wrong_object_from_the_mask_and_keeps_the_right_one():
    scene = known()
    start = scene.red | scene.blue

    mask = refine(scene, on(scene.blue, is_positive=False), start=start)

    assert not (mask & ~start).any()
    assert (mask & scene.red).sum() == scene.red.sum()
    assert (mask & scene.blue).sum() < 0.2 * scene.blue.sum()


@pytest.mark.parametrize("x", [12.5, 24.5, 36.5])
def test_negative_clicks_add_nothing_to_an_untouched_pre_annotation(x: float) -> None:
    scene = known()
    start = cut_masks(
        scene.maps,
        threshold=THRESHOLD,
        presence_threshold=PRESENCE,
        pixels=scene.pixels,
    ).mask(0)

    mask = refine(scene, Click(y=30.5, x=x, is_positive=False), start=start)

    assert start[30, int(x)]
    assert mask.sum() < start.sum()
    assert not (mask & ~start).any()


def test_negative_clicks_on_an_empty_canvas_leave_it_all_but_empty() -> None:
    scene = known()

    mask = refine(scene, on(scene.red, is_positive=False), label=None)

    assert not mask.any()


def test_what_a_person_painted_and_erased_far_from_all_clicks_stays_to_the_pixel():
    scene = known()
    found = cut_masks(
        scene.maps,
        threshold=THRESHOLD,
        presence_threshold=PRESENCE,
        pixels=scene.pixels,
    ).mask(0)
    painted, erased = np.zeros((2, *SIZE_YX), np.bool_)
    painted[2:8, 84:94] = True
    erased[40:48, 12:20] = True
    start = (found | painted) & ~erased
    assert (found & erased).any()

    # A click on the object's upper edge, and one beyond it.
    for click in (Click(y=13, x=30), Click(y=16, x=34, is_positive=False)):
        mask = refine(scene, click, start=start)

        far = np.ones(SIZE_YX, np.bool_)
        far[:30, :60] = False
        np.testing.assert_array_equal(mask[far], start[far])


def test_a_click_on_what_a_person_erased_brings_it_back() -> None:
    scene = known()
    start = scene.red.copy()
    start[32:46, 16:30] = False

    mask = refine(scene, Click(y=39, x=23), start=start)

    assert (mask & scene.red).sum() > start.sum()
    assert iou(mask, scene.red) > 0.95


def test_a_start_that_is_one_of_several_parts_of_a_label_stays_one() -> None:
    scene = known()
    both = scene.maps.maps.copy()
    both[0] = np.maximum(both[0], both[1])
    maps = replace(scene.maps, maps=both, presence=np.array([1, 0, 0], np.float32))

    mask = refine(scene, Click(y=13, x=30), start=scene.red, maps=maps)

    assert iou(mask, scene.red) > 0.9
    assert not (mask & scene.blue).any()


def test_of_two_objects_of_one_label_a_click_on_an_empty_canvas_takes_one() -> None:
    scene = known()
    both = scene.maps.maps.copy()
    both[0] = np.maximum(both[0], both[1])
    maps = replace(scene.maps, maps=both, presence=np.array([1, 0, 0], np.float32))

    mask = refine(scene, on(scene.blue), maps=maps)

    assert iou(mask, scene.blue) > 0.9
    assert not (mask & scene.red).any()


def test_a_box_on_an_empty_canvas_finds_what_is_in_it() -> None:
    scene = known()
    box = Box(top=8, left=6, bottom=52, right=44)

    for label in (0, None):
        mask = refine(scene, boxes=(box,), label=label)

        assert iou(mask, scene.red) > 0.85
        assert not mask[:, 44:].any()


def test_a_box_adds_what_it_holds_to_a_start() -> None:
    scene = known()
    around_blue = Box(top=8, left=54, bottom=52, right=92)

    mask = refine(scene, boxes=(around_blue,), start=scene.red)

    assert iou(mask, scene.red | scene.blue) > 0.85
    assert mask[scene.red].all()


def test_the_newest_box_decides() -> None:
    scene = known()
    around_red = Box(top=8, left=6, bottom=52, right=44)
    around_blue = Box(top=8, left=54, bottom=52, right=92)

    mask = refine(scene, boxes=(around_red, around_blue), label=None)

    np.testing.assert_array_equal(mask, refine(scene, boxes=(around_blue,), label=None))
    assert iou(mask, scene.blue) > 0.85


def test_the_same_question_has_the_same_answer_whatever_was_asked_in_between() -> None:
    scene, other = known(), known((96, 60))
    first = refine(scene, on(scene.red), on(scene.blue, is_positive=False))
    refine(other, on(other.blue), label=1)
    refine(scene, on(scene.red), label=1)

    again = refine(scene, on(scene.red), on(scene.blue, is_positive=False))

    np.testing.assert_array_equal(again, first)


def test_many_threads_get_what_one_gets() -> None:
    # Of sizes that nothing is kept of yet, by several at once.
    scenes = [known((50, 80)), known((51, 80)), known((50, 80))]
    jobs = [(scene, label) for scene in scenes for label in (0, 1, None)] * 3

    def work(job: tuple[Known, int | None]) -> Bools:
        scene, label = job
        return refine(scene, on(scene.red), label=label)

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(work, jobs))

    for job, mask in zip(jobs, together, strict=True):
        np.testing.assert_array_equal(mask, work(job))


def test_nothing_that_is_given_is_changed() -> None:
    scene = known()
    start = scene.red.copy()
    before = scene.pixels.copy(), scene.maps.maps.copy()

    refine(scene, on(scene.blue), start=start)

    np.testing.assert_array_equal(start, scene.red)
    np.testing.assert_array_equal(scene.pixels, before[0])
    np.testing.assert_array_equal(scene.maps.maps, before[1])


def test_a_large_picture_keeps_its_pixels_where_no_click_has_a_say() -> None:
    scene = known((1200, 1920))
    start = scene.red.copy()
    start[1100:1103, 1500:1700:3] = True

    mask = refine(scene, Click(y=620, x=800), start=start, label=0)

    assert mask[620, 800]
    np.testing.assert_array_equal(mask[1090:, 1400:], start[1090:, 1400:])


def test_a_large_object_has_the_edges_of_the_large_picture() -> None:
    scene = known((1200, 1920))

    mask = refine(scene, on(scene.red))

    edge = cv2.dilate(scene.red.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert iou(mask, scene.red) > 0.97
    assert (mask & ~edge).sum() < 0.01 * scene.red.sum()


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 40), (40, 1), (2, 3), (7, 300)])
def test_pictures_of_any_shape_are_answered(size_yx: tuple[int, int]) -> None:
    scene = known(size_yx)

    mask = refine(scene, Click(y=0.5, x=0.5), Click(y=size_yx[0] - 0.5, x=0))

    assert mask.shape == size_yx
    assert mask[0, 0]


@pytest.mark.parametrize(
    ("y", "x"), [(-1, 5), (60, 5), (5, 96), (5, -0.5), (float("nan"), 5)]
)
def test_a_click_outside_the_image_is_refused_with_its_place_and_the_size(
    y: float, x: float
) -> None:
    with pytest.raises(BadClick, match=r"60 rows and 96 columns. Click inside"):
        refine(known(), Click(y=y, x=x))


@pytest.mark.parametrize(
    "box",
    [
        Box(top=5, left=5, bottom=5, right=9),
        Box(top=5, left=9, bottom=9, right=5),
        Box(top=60, left=5, bottom=70, right=9),
        Box(top=-9, left=5, bottom=0, right=9),
    ],
)
def test_a_box_that_holds_nothing_is_refused(box: Box) -> None:
    with pytest.raises(BadClick, match=r"holds nothing of an image of 60 rows"):
        refine(known(), boxes=(box,))


def test_a_start_or_maps_of_another_size_and_an_unknown_label_are_refused() -> None:
    scene = known()

    with pytest.raises(ValueError, match=r"start mask is \(96, 60\)"):
        refine(scene, on(scene.red), start=np.zeros((96, 60), np.bool_))
    with pytest.raises(ValueError, match=r"maps are of \(9, 9\)"):
        refine(scene, on(scene.red), maps=replace(scene.maps, size_yx=(9, 9)))
    with pytest.raises(ValueError, match=r"no label 3; there are 3"):
        refine(scene, on(scene.red), label=3)


def test_refining_needs_no_torch() -> None:
    program = (
        "import sys, numpy as np\n"
        "from segmenter import Click, refine_mask\n"
        "refine_mask(np.zeros((8, 9, 3), np.uint8), clicks=[Click(y=1, x=2)],"
        " start=None, maps=None, label=None, threshold=0.5, presence_threshold=0.5)\n"
        "assert 'torch' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
