import numpy as np
import pytest

from backend.errors import BadMask, BadTask
from backend.export.pictures import drawings_of
from backend.label_config import read_drawn_tags
from backend.types import Task
from tests.backend.export.drawn import region
from tests.masks import wavy

TAGS = read_drawn_tags(
    """<View>
  <Image name="photo" value="$image"/>
  <Image name="scan" valueList="$pages"/>
  <BrushLabels name="tag" toName="photo,scan"><Label value="dog"/></BrushLabels>
</View>"""
)
TASK = Task(id=1, data={"image": "/a.jpg", "pages": ["/0.png", "/1.png", "/2.png"]})
SMALL, LARGE = wavy(20, 30), wavy(40, 60)


def test_regions_go_to_their_image_and_page_in_their_order() -> None:
    drawings, left_out = drawings_of(
        TASK,
        [
            region(LARGE, region_id="a", to_name="scan", item_index=1),
            region(SMALL, region_id="b"),
            region(~LARGE, region_id="c", to_name="scan", item_index=1),
            region(SMALL, region_id="d", to_name="scan"),
        ],
        TAGS,
    )

    assert not left_out
    found = [
        (one.address, one.item_index, one.size_yx, [r.id for r in one.regions])
        for one in drawings
    ]
    assert found == [
        ("/a.jpg", None, (20, 30), ["b"]),
        ("/0.png", 0, (20, 30), ["d"]),
        ("/1.png", 1, (40, 60), ["a", "c"]),
        ("/2.png", 2, None, []),
    ]


def test_what_has_no_label_is_left_out_and_counted() -> None:
    unnamed = region(SMALL)
    del unnamed["value"]["brushlabels"]
    point = {"id": "k", "type": "keypointlabels", "value": {}}

    drawings, left_out = drawings_of(TASK, [unnamed, point], TAGS)

    assert not any(drawing.regions for drawing in drawings)
    assert left_out == {"region without a label": 1, "keypointlabels": 1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to_name": "other"}, "page 0 of <Image name='other'>"),
        ({"to_name": "scan", "item_index": 3}, "page 3 of <Image name='scan'>"),
        ({"item_index": 1}, "page 1 of <Image name='photo'>"),
    ],
)
def test_a_region_on_what_the_task_does_not_show_is_refused(
    changes: dict[str, object], says: str
) -> None:
    with pytest.raises(BadTask, match=says):
        drawings_of(TASK, [region(SMALL) | changes], TAGS)


def test_regions_of_one_image_that_disagree_about_its_size_are_refused() -> None:
    results = [region(SMALL), region(LARGE, region_id="r2")]

    with pytest.raises(BadTask, match="20 x 30 and 40 x 60 pixels"):
        drawings_of(TASK, results, TAGS)


def test_a_task_without_an_image_is_refused() -> None:
    with pytest.raises(BadTask, match=r"no image in '\$image', '\$pages'"):
        drawings_of(Task(id=1, data={"text": "a"}), [], TAGS)


def test_a_result_that_is_none_is_refused() -> None:
    with pytest.raises(BadMask, match="Result 0 of the annotation is a NoneType"):
        drawings_of(TASK, [None], TAGS)


def test_no_mask_is_decoded_yet() -> None:
    damaged = region(np.ones((2, 3), bool))
    damaged["value"]["rle"] = [1, 2, 3]

    (photo, *_), _ = drawings_of(TASK, [damaged], TAGS)

    with pytest.raises(BadMask):
        photo.regions[0].mask()
