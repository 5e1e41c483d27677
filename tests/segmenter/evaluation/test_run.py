import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segmenter import SegmenterOptions, load_segmenter
from segmenter.evaluation.boundaries import BoundaryCounts
from segmenter.evaluation.class_lists import ClassList, load_class_list
from segmenter.evaluation.counts import IouCounts, to_class_map
from segmenter.evaluation.errors import EvaluationError
from segmenter.evaluation.records import Failure, ImageRecord, Record
from segmenter.evaluation.run import Plan, choose_labels, evaluate
from segmenter.evaluation.voc_folder import VocFolder, open_voc_folder
from segmenter.evaluation.work import WorkCounts
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter

POCKET = load_class_list("pocket")
PRESENT = Plan(labels="present")


def records_of(
    folder: VocFolder,
    segmenter: Segmenter,
    plan: Plan = PRESENT,
    classes: ClassList = POCKET,
    names: Sequence[str] | None = None,
) -> list[Record]:
    return list(evaluate(names or folder.names, folder, classes, segmenter, plan))


def counted(records: Sequence[Record]) -> list[ImageRecord]:
    """All of them; none may have failed."""
    assert not [record for record in records if isinstance(record, Failure)]
    return cast(list[ImageRecord], records)


@pytest.mark.parametrize("plan", [Plan(), PRESENT, Plan(labels="present", absent=3)])
def test_what_is_counted_is_what_the_segmenter_cuts(
    pocket_folder: VocFolder, pocket: Segmenter, plan: Plan
) -> None:
    records = counted(records_of(pocket_folder, pocket, plan))

    for name, record in zip(pocket_folder.names, records, strict=True):
        labels = [POCKET.names[number] for number in record.asked]
        (cut,) = pocket.segment([pocket_folder.read_image(name)], [labels])
        truth = pocket_folder.read_truth(name)
        iou, boundaries = IouCounts(len(POCKET)), BoundaryCounts(len(POCKET))
        iou.add(truth, to_class_map(cut, WORDS))
        boundaries.add(truth, to_class_map(cut, WORDS))
        assert record.name == name
        assert record.iou == iou.rows()
        assert record.boundaries == boundaries.rows()
        np.testing.assert_allclose(record.presence, cut.presence, atol=1e-4)
        assert record.shown == np.unique(truth)[1:].tolist()
        assert record.seconds > 0


def test_work_is_counted_of_the_same_masks_where_it_is_asked_for(
    pocket_folder: VocFolder, pocket: Segmenter
) -> None:
    names = pocket_folder.names[:2]
    asked = Plan(labels="present", absent=3, work_saved=True)

    records = counted(records_of(pocket_folder, pocket, asked, names=names))
    others = counted(
        records_of(pocket_folder, pocket, replace(asked, work_saved=False), names=names)
    )

    for name, record, other in zip(names, records, others, strict=True):
        labels = [POCKET.names[number] for number in record.asked]
        (cut,) = pocket.segment([pocket_folder.read_image(name)], [labels])
        work = WorkCounts(len(POCKET))
        work.add(pocket_folder.read_truth(name), to_class_map(cut, WORDS))
        assert record.work == work.rows()
        assert {row[0] for row in work.rows()} >= set(record.shown)
        assert replace(record, work=None, seconds=0) == replace(other, seconds=0)


def test_other_options_are_obeyed(pocket_folder: VocFolder) -> None:
    options = SegmenterOptions(threshold=0.7, presence="off", boundaries="off")
    segmenter = load_segmenter("pocket", options, device="cpu")

    (record,) = counted(
        records_of(pocket_folder, segmenter, names=pocket_folder.names[:1])
    )

    labels = [POCKET.names[number] for number in record.asked]
    pixels = pocket_folder.read_image(pocket_folder.names[0])
    (cut,) = segmenter.segment([pixels], [labels])
    iou = IouCounts(len(POCKET))
    iou.add(pocket_folder.read_truth(pocket_folder.names[0]), to_class_map(cut, WORDS))
    assert record.iou == iou.rows()


def test_the_size_of_a_batch_changes_nothing_but_the_pace(
    pocket_folder: VocFolder, pocket: Segmenter
) -> None:
    one, many = (
        records_of(pocket_folder, pocket, Plan(labels="present", batch_size=size))
        for size in (1, 5)
    )

    for alone, among_others in zip(counted(one), counted(many), strict=True):
        assert alone.name == among_others.name
        assert alone.asked == among_others.asked
        np.testing.assert_allclose(
            alone.presence, among_others.presence, atol=1e-3, rtol=1e-2
        )


def test_a_class_has_what_any_of_its_prompts_finds(
    pocket_folder: VocFolder, pocket: Segmenter
) -> None:
    everything = ClassList(title="own", prompts_of=(("thing", WORDS),))
    folder = replace(pocket_folder, names=pocket_folder.names[:2])
    truth = {name: (folder.read_truth(name) > 0) for name in folder.names}

    records = counted(records_of(_Binary(**vars(folder)), pocket, classes=everything))

    for name, record in zip(folder.names, records, strict=True):
        assert record.asked == record.shown == [1]
        assert record.presence[0] > 0.5
        iou = IouCounts(2)
        iou.add_rows(record.iou)
        assert iou.truth_pixels()[1] == truth[name].sum()
        assert iou.per_class()[1] > 0.5


class _Binary(VocFolder):
    """The same folder with one class in its truth: things."""

    def read_truth(self, name: str) -> Any:
        return (super().read_truth(name) > 0).astype(np.uint8)


@pytest.fixture
def broken(pocket_folder: VocFolder, tmp_path: Path) -> VocFolder:
    """Of six images, the first four cannot be counted."""
    root = tmp_path / "broken"
    shutil.copytree(pocket_folder.root, root)
    truth = root / "SegmentationClass"
    names = pocket_folder.names
    (root / "JPEGImages" / f"{names[0]}.png").write_bytes(b"no picture")
    (truth / f"{names[1]}.png").unlink()
    Image.new("L", (96, 160)).save(truth / f"{names[2]}.png")
    Image.new("L", (160, 96), 25).save(truth / f"{names[3]}.png")
    return open_voc_folder(root)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_images_that_cannot_be_counted_are_named_and_the_others_count(
    broken: VocFolder, pocket: Segmenter, batch_size: int
) -> None:
    plan = Plan(labels="present", batch_size=batch_size)

    records = records_of(broken, pocket, plan)

    failures = [record for record in records if isinstance(record, Failure)]
    assert [failure.name for failure in failures] == list(broken.names[:4])
    for failure, reason in zip(
        failures,
        (
            "cannot be read as an image",
            "There is no ",
            "has 96 x 160 pixels (rows x columns) and its truth 160 x 96",
            "holds class 25 and the list pocket ends with 24",
        ),
        strict=True,
    ):
        assert reason in failure.reason
    assert [record.name for record in records[4:]] == list(broken.names[4:])
    counted(records[4:])


def reason_of(folder: VocFolder, segmenter: Segmenter, name: str) -> str:
    (record,) = records_of(folder, segmenter, names=[name])
    assert isinstance(record, Failure)
    return record.reason


def test_a_truth_that_is_void_everywhere_is_named(
    broken: VocFolder, pocket: Segmenter
) -> None:
    name = broken.names[5]
    path = broken.root / "SegmentationClass" / f"{name}.png"
    Image.new("L", (160, 96), 255).save(path)

    reason = reason_of(broken, pocket, name)

    assert f"The truth of {name} is 255 everywhere" in reason
    assert "write its class's number in place of 255." in reason


def test_a_truth_of_the_turned_image_is_told_of_exif(
    broken: VocFolder, pocket: Segmenter
) -> None:
    names = broken.names
    path = broken.root / "SegmentationClass" / f"{names[5]}.png"
    Image.new("L", (100, 90)).save(path)

    assert "by its EXIF orientation" in reason_of(broken, pocket, names[2])
    assert "EXIF" not in reason_of(broken, pocket, names[5])


def test_palettes_of_each_picture_s_own_are_named(
    broken: VocFolder, pocket: Segmenter
) -> None:
    first, second = broken.names[4:]
    for name, levels in ((first, [0, 0, 0, 255, 0, 0]), (second, [0, 0, 0, 0, 255, 0])):
        truth = Image.new("P", (160, 96), 1)
        truth.putpalette(levels)
        truth.save(broken.root / "SegmentationClass" / f"{name}.png")

    failed, good = records_of(broken, pocket, names=[first, second])

    assert isinstance(failed, Failure)
    assert failed.name == second
    assert "The number 1 is (0, 255, 0) in the palette of" in failed.reason
    assert good.name == first


def test_an_image_that_shows_no_class_counts_as_background(
    broken: VocFolder, pocket: Segmenter
) -> None:
    name = broken.names[5]
    truth = np.full((96, 160), 255, np.uint8)
    truth[:50] = 0
    Image.fromarray(truth).save(broken.root / "SegmentationClass" / f"{name}.png")

    (record,) = counted(records_of(broken, pocket, names=[name]))

    assert record.asked == record.presence == record.shown == []
    assert record.iou == [[0, 0, 50 * 160]]


def test_a_device_without_memory_is_told_apart_from_other_errors(
    pocket_folder: VocFolder,
) -> None:
    class Failing:
        options = SegmenterOptions()

        def __init__(self, message: str) -> None:
            self.message = message

        def score(self, *_: object, **options: object) -> None:
            raise RuntimeError(self.message)

    full = cast(Segmenter, Failing("CUDA out of memory. Tried to allocate 2 GiB."))
    wrong = cast(Segmenter, Failing("something else"))

    with pytest.raises(EvaluationError, match="4 images at once; give a smaller"):
        records_of(pocket_folder, full)
    with pytest.raises(RuntimeError, match="something else"):
        records_of(pocket_folder, wrong)


def test_all_asks_for_every_class() -> None:
    assert choose_labels("a", [2], 5, Plan()) == [1, 2, 3, 4]


def test_present_asks_for_what_is_shown() -> None:
    assert choose_labels("a", [2, 4], 5, PRESENT) == [2, 4]


@given(name=st.text(), shown=st.sets(st.integers(1, 20)), absent=st.integers(1, 25))
def test_absent_classes_are_drawn_by_the_image_s_name(
    name: str, shown: set[int], absent: int
) -> None:
    plan = Plan(labels="present", absent=absent)
    in_order = sorted(shown)

    asked = choose_labels(name, in_order, 21, plan)

    assert asked == sorted(set(asked))
    assert set(asked) >= shown
    assert len(asked) == min(20, len(shown) + absent)
    fewer = choose_labels(name, in_order, 21, replace(plan, absent=absent - 1))
    assert set(fewer) < set(asked) or len(asked) == 20


def test_different_images_get_different_absent_classes() -> None:
    plan = Plan(labels="present", absent=2)

    drawn = {tuple(choose_labels(str(i), [1], 21, plan)) for i in range(20)}

    assert len(drawn) > 15


def test_absent_classes_beside_all_of_them_are_refused() -> None:
    with pytest.raises(ValueError, match="2 absent classes"):
        Plan(labels="all", absent=2)
