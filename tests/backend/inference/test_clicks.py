"""A click gives one region, of its object's own id, from what the person sees."""

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.inference import Predictor
from backend.inference.batcher import DeadlineExceeded
from backend.regions.rle import encode_rle
from segmenter import WeightsNotFound
from tests.clicking import (
    CLICKABLE,
    SIZE_YX,
    STRIPES,
    ask_clicks,
    box,
    columns,
    masks,
    point,
    pre_annotated,
    task_with,
)
from tests.fakes import ColourSegmenter, brush_config, make_predictor, picture


def region(name: str, mask: Any, label: str = "red", **changed: Any) -> dict[str, Any]:
    """As a person, or we, have drawn it."""
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "origin": "manual",
        "original_width": SIZE_YX[1],
        "original_height": SIZE_YX[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_rle(mask), "brushlabels": [label]},
    } | changed


def eraser(first: tuple[float, float], last: tuple[float, float]) -> dict[str, Any]:
    """A stroke as wide as a tenth of the picture, between places (y, x) in pixels."""
    rows, columns_ = SIZE_YX
    (y0, x0), (y1, x1) = first, last
    return {
        "type": "eraser",
        "relativePoints": [
            *(100 * x0 / columns_, 100 * y0 / rows),
            *(100 * x1 / columns_, 100 * y1 / rows),
        ],
        "relativeStrokeWidth": 10,
    }


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (result,) = answer["result"]
    assert isinstance(result, dict)
    return result


def mask_of(answer: dict[str, Any]) -> np.ndarray:
    return masks(answer["result"])[only(answer)["id"]]


def test_a_click_on_a_pre_annotated_object_is_answered_under_its_id(
    segmenter: ColourSegmenter, predictor: Predictor
) -> None:
    red, blue = pre_annotated(predictor)

    answer = ask_clicks(
        predictor, point(20, 10), task=task_with(prediction=[red, blue])
    )

    assert only(answer)["id"] == red["id"]
    assert only(answer)["from_name"] == "tag"
    assert only(answer)["value"]["brushlabels"] == ["red"]
    assert answer["model_version"] == predictor.model_version(CLICKABLE)
    assert answer["score"] == only(answer)["score"] == 1
    np.testing.assert_array_equal(mask_of(answer), columns(0, 20))
    interface = LabelInterface(CLICKABLE)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_clicks_on_a_picture_that_was_read_take_no_pass(
    segmenter: ColourSegmenter, predictor: Predictor
) -> None:
    regions = pre_annotated(predictor)
    assert segmenter.calls == 1

    for clicks in ([point(20, 10)], [point(20, 10), point(5, 5, name="q")]):
        ask_clicks(predictor, *clicks, task=task_with(prediction=regions))

    assert segmenter.calls == 1


def test_the_first_click_on_a_picture_takes_one_pass_and_the_second_none(
    segmenter: ColourSegmenter, predictor: Predictor
) -> None:
    for _ in range(3):
        ask_clicks(predictor, point(20, 10))

    assert segmenter.calls == 1


def test_a_click_where_nothing_is_drawn_gives_an_object_of_its_own(
    predictor: Predictor,
) -> None:
    red, blue = pre_annotated(predictor)
    task = task_with(prediction=[blue])

    first = ask_clicks(predictor, point(20, 10), task=task)
    again = ask_clicks(predictor, point(20, 10), point(5, 5, name="q"), task=task)
    elsewhere = ask_clicks(predictor, point(21, 10), task=task)

    np.testing.assert_array_equal(mask_of(first), columns(0, 20))
    assert only(first)["id"] == only(again)["id"]
    assert only(first)["id"] not in {red["id"], blue["id"], only(elsewhere)["id"]}


def test_an_accepted_object_is_refined_in_place_by_the_next_click(
    predictor: Predictor,
) -> None:
    """Once accepted the points are gone: the region in the draft is all there is."""
    accepted = only(ask_clicks(predictor, point(20, 10)))

    answer = ask_clicks(
        predictor,
        point(20, 15, name="q", is_positive=False),
        task=task_with(draft=[{**accepted, "origin": "manual"}]),
    )

    assert only(answer)["id"] == accepted["id"]
    assert not mask_of(answer)[20, 15]
    assert (mask_of(answer) & ~columns(0, 20)).sum() == 0


def test_a_click_beside_an_object_that_shows_what_is_missing_refines_it(
    predictor: Predictor,
) -> None:
    partly = region("mine", columns(0, 14))

    answer = ask_clicks(predictor, point(20, 17), task=task_with(draft=[partly]))

    assert only(answer)["id"] == "mine"
    assert mask_of(answer)[:, :14].all()
    assert mask_of(answer)[20, 17]


def test_a_click_on_another_object_of_the_label_leaves_the_first_alone(
    predictor: Predictor,
) -> None:
    image = picture("red", "white", "red", size_yx=SIZE_YX)
    first = region("mine", columns(0, 20))

    answer = ask_clicks(
        predictor,
        box((0, 40, 40, 60)),
        task=task_with(draft=[first], image=image),
    )

    assert only(answer)["id"] != "mine"
    assert not (mask_of(answer) & columns(0, 20)).any()
    assert mask_of(answer)[20, 50]


def test_the_start_is_the_draft_with_its_strokes_and_not_the_prediction(
    predictor: Predictor,
) -> None:
    red, blue = pre_annotated(predictor)
    corrected = {**red, "value": red["value"] | {"touches": [eraser((0, 5), (40, 5))]}}
    task = task_with(draft=[corrected, blue], prediction=[red, blue])

    answer = ask_clicks(predictor, point(20, 15), task=task)

    assert only(answer)["id"] == red["id"]
    assert not mask_of(answer)[:, 3:7].any()
    assert mask_of(answer)[:, 12:20].all()


def test_the_start_is_the_annotation_where_there_is_no_draft(
    predictor: Predictor,
) -> None:
    regions = pre_annotated(predictor)
    mine = region(regions[0]["id"], columns(0, 12))

    answer = ask_clicks(
        predictor,
        point(20, 5),
        task=task_with(annotation=[mine], prediction=regions),
    )

    assert only(answer)["id"] == mine["id"]
    np.testing.assert_array_equal(mask_of(answer)[:, :12], columns(0, 12)[:, :12])


def test_a_deleted_region_does_not_come_back_under_its_id(
    predictor: Predictor,
) -> None:
    red, blue = pre_annotated(predictor)

    answer = ask_clicks(
        predictor,
        point(20, 10),
        task=task_with(draft=[blue], prediction=[red, blue]),
    )

    assert only(answer)["id"] not in {red["id"], blue["id"]}


def test_an_accepted_object_is_known_before_the_draft_holds_it(
    predictor: Predictor,
) -> None:
    """A draft is up to 5 s behind, and answers with it."""
    first = only(ask_clicks(predictor, point(20, 10), task=task_with(draft=[])))

    answer = ask_clicks(
        predictor,
        point(20, 15, name="q", is_positive=False),
        task=task_with(draft=[]),
    )

    assert only(answer)["id"] == first["id"]
    assert not (mask_of(answer) & ~columns(0, 20)).any()
    assert not mask_of(answer)[20, 15]


def test_an_accepted_mask_is_refined_before_the_draft_holds_it(
    predictor: Predictor,
) -> None:
    image = picture("red", "red", "white", size_yx=SIZE_YX)
    task = task_with(draft=[region("mine", columns(0, 10))], image=image)
    first = ask_clicks(predictor, point(20, 30, name="a"), task=task)
    row, column = np.argwhere(mask_of(first) & ~columns(0, 11))[0]

    # In no mask of the draft, but in the accepted one.
    away = point(row + 0.5, column + 0.5, name="b", is_positive=False)
    answer = ask_clicks(predictor, away, task=task)

    assert only(answer)["id"] == "mine"
    assert not mask_of(answer)[row, column]


def test_a_refused_answer_is_forgotten_once_the_draft_is_stored_without_it(
    predictor: Predictor,
) -> None:
    regions = pre_annotated(predictor)
    ask_clicks(
        predictor,
        point(20, 3, name="a", is_positive=False),
        task=task_with(draft=regions, stored_at="1"),
    )

    answer = ask_clicks(
        predictor, point(20, 16, name="b"), task=task_with(draft=regions, stored_at="2")
    )

    np.testing.assert_array_equal(mask_of(answer), columns(0, 20))


def test_a_draft_that_still_holds_the_points_was_stored_before_their_end(
    predictor: Predictor,
) -> None:
    click = point(20, 10, name="a")
    first = only(ask_clicks(predictor, click, task=task_with(draft=[], stored_at="1")))

    answer = ask_clicks(
        predictor,
        point(20, 15, name="b", is_positive=False),
        task=task_with(draft=[click], stored_at="2"),
    )

    assert only(answer)["id"] == first["id"]


def test_what_a_person_paints_after_an_answer_counts(predictor: Predictor) -> None:
    red, blue = pre_annotated(predictor)
    ask_clicks(predictor, point(20, 5), task=task_with(draft=[red, blue]))
    painted = {**red, "value": red["value"] | {"touches": [eraser((0, 5), (40, 5))]}}

    answer = ask_clicks(
        predictor,
        point(20, 15, name="q"),
        task=task_with(draft=[painted, blue], stored_at="2"),
    )

    assert not mask_of(answer)[:, 3:7].any()


def test_all_clicks_that_are_not_accepted_are_solved_from_before_the_first(
    predictor: Predictor,
) -> None:
    task = task_with(prediction=pre_annotated(predictor))
    negative = point(20, 3, name="a", is_positive=False)
    ask_clicks(predictor, negative, task=task)

    moved = ask_clicks(predictor, point(20, 17, name="a", is_positive=False), task=task)

    assert mask_of(moved)[20, 3]
    assert not mask_of(moved)[20, 17]


def test_another_persons_answer_is_not_what_this_one_sees(predictor: Predictor) -> None:
    regions = pre_annotated(predictor)
    ask_clicks(
        predictor,
        point(20, 3, name="a", is_positive=False),
        task=task_with(draft=regions, user="one"),
    )

    answer = ask_clicks(
        predictor, point(20, 16, name="b"), task=task_with(draft=regions, user="other")
    )

    np.testing.assert_array_equal(mask_of(answer), columns(0, 20))


def test_a_negative_click_takes_from_the_mask_that_it_lies_in_alone(
    predictor: Predictor,
) -> None:
    image = picture("red", "white", "red", size_yx=SIZE_YX)
    left, right = region("left", columns(0, 20)), region("right", columns(40, 60))

    answer = ask_clicks(
        predictor,
        point(20, 50, is_positive=False),
        task=task_with(draft=[left, right], image=image),
    )

    assert only(answer)["id"] == "right"
    assert not mask_of(answer)[20, 50]


def test_a_negative_click_in_no_mask_of_the_label_changes_nothing(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    task = task_with(prediction=pre_annotated(predictor))

    with caplog.at_level(logging.INFO):
        caplog.clear()
        answer = ask_clicks(predictor, point(20, 50, is_positive=False), task=task)

    assert answer["result"] == []
    (line,) = caplog.messages
    assert "a negative click in no mask of 'red'" in line


def test_a_click_takes_no_pixel_of_another_region_where_labels_exclude_each_other(
    predictor: Predictor,
) -> None:
    image = picture("red", "red", "white", size_yx=SIZE_YX)
    other = region("other", columns(20, 40), "blue")

    answer = ask_clicks(
        predictor, point(20, 10), task=task_with(draft=[other], image=image)
    )

    np.testing.assert_array_equal(mask_of(answer), columns(0, 20))


def test_a_click_on_another_region_takes_its_pixels(predictor: Predictor) -> None:
    image = picture("red", "red", "white", size_yx=SIZE_YX)
    other = region("other", columns(20, 40), "blue")

    answer = ask_clicks(
        predictor, point(20, 30), task=task_with(draft=[other], image=image)
    )

    assert only(answer)["id"] != "other"
    assert mask_of(answer)[20, 30]


def test_labels_may_overlap_where_the_config_lets_them(predictor: Predictor) -> None:
    config = CLICKABLE.replace('"tag"', '"tag" model_overlap="independent"')
    image = picture("red", "red", "white", size_yx=SIZE_YX)
    other = region("other", columns(20, 40), "blue")

    answer = ask_clicks(
        predictor,
        point(20, 10),
        task=task_with(draft=[other], image=image),
        config=config,
    )

    np.testing.assert_array_equal(mask_of(answer), columns(0, 40))


def test_a_box_gives_the_object_inside_of_it(predictor: Predictor) -> None:
    answer = ask_clicks(predictor, box((5, 0, 30, 40)))

    found = mask_of(answer)
    assert found[6:29, 1:19].all()
    assert not found[:5].any()
    assert not found[30:].any()
    assert not found[:, 40:].any()


def test_a_box_around_an_object_refines_it(predictor: Predictor) -> None:
    mine = region("mine", columns(0, 12))

    answer = ask_clicks(predictor, box((0, 0, 40, 30)), task=task_with(draft=[mine]))

    assert only(answer)["id"] == "mine"
    assert mask_of(answer)[1:39, 1:19].all()
    assert not mask_of(answer)[:, 30:].any()


def test_a_turned_box_holds_nothing_of_its_corners(predictor: Predictor) -> None:
    # Turned around its upper left corner, as the editor does it.
    answer = ask_clicks(predictor, box((0, 10, 14, 24), rotation=45))

    found = mask_of(answer)
    assert found[10, 10]
    assert not found[1, 3]
    assert not found[18, 2]


def test_a_box_beside_the_picture_changes_nothing(predictor: Predictor) -> None:
    answer = ask_clicks(predictor, box((50, 70, 60, 80)))

    assert answer["result"] == []


def test_a_polygon_is_answered_where_no_brush_has_the_label(
    predictor: Predictor,
) -> None:
    config = CLICKABLE.replace("BrushLabels", "PolygonLabels")

    answer = ask_clicks(predictor, point(20, 10), config=config)

    assert only(answer)["type"] == "polygonlabels"
    np.testing.assert_array_equal(mask_of(answer), columns(0, 20))


def test_a_pair_of_labels_and_tool_is_answered_with_both_results(
    predictor: Predictor,
) -> None:
    config = (
        '<View><Image name="image" value="$image"/><Labels name="labels" '
        'toName="image"><Label value="red"/></Labels><Brush name="brush" '
        'toName="image"/><KeyPoint name="kp" toName="image" smart="true"/></View>'
    )
    tool = point(20, 10, type="keypoint")
    labels = {**tool, "type": "labels", "from_name": "labels"}

    answer = ask_clicks(predictor, tool, labels, config=config)

    assert [r["type"] for r in answer["result"]] == ["brush", "labels"]
    assert len({r["id"] for r in answer["result"]}) == 1
    interface = LabelInterface(config)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_a_click_on_a_page_is_of_that_page(predictor: Predictor) -> None:
    config = CLICKABLE.replace('value="$image"', 'valueList="$image"')
    pages = ["", picture("white", "red", size_yx=SIZE_YX)]
    task = {**task_with(), "data": {"image": [STRIPES, pages[1]]}}

    answer = ask_clicks(
        predictor, point(20, 45, item_index=1), task=task, config=config
    )
    missing = ask_clicks(
        predictor, point(20, 45, item_index=5), task=task, config=config
    )

    assert only(answer)["item_index"] == 1
    np.testing.assert_array_equal(mask_of(answer), columns(30, 60))
    assert missing["result"] == []


def test_a_label_that_nothing_draws_is_said(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask_clicks(predictor, point(20, 10, "green"))

    assert answer["result"] == []
    assert "no brush, bitmask or polygon of 'image' has the label 'green'" in (
        caplog.text
    )


def test_a_label_that_is_not_in_the_picture_can_be_clicked(
    segmenter: ColourSegmenter,
) -> None:
    predictor = make_predictor(ColourSegmenter(presence={"red": 0.0}))

    answer = ask_clicks(predictor, point(20, 50))

    assert mask_of(answer)[20, 50]


def _loading(timeout_s: float) -> ColourSegmenter:
    raise DeadlineExceeded


def _missing(timeout_s: float) -> ColourSegmenter:
    raise WeightsNotFound("no/such", "it is not there")


def _broken(timeout_s: float) -> ColourSegmenter:
    def fail(pixels: Any) -> None:
        raise RuntimeError("out of memory")

    return ColourSegmenter(before=fail)


@pytest.mark.parametrize(
    ("segmenter_of", "told"),
    [
        pytest.param(_loading, "the model is not ready, or not free", id="loading"),
        pytest.param(_missing, "no/such", id="missing"),
        pytest.param(_broken, "RuntimeError, see above", id="broken"),
    ],
)
def test_without_a_model_a_click_changes_nothing_and_the_log_says_why(
    segmenter_of: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = make_predictor(ColourSegmenter(), segmenter=segmenter_of)

    with caplog.at_level(logging.INFO):
        answer = ask_clicks(predictor, point(20, 10))

    assert answer["result"] == []
    assert told in caplog.messages[-1]


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("not an address", id="address"),
        pytest.param(None, id="none"),
        pytest.param(["a", "b"], id="pages"),
        pytest.param("data:image/png;base64,AAAA", id="no-picture"),
    ],
)
def test_a_picture_that_cannot_be_had_changes_nothing(
    image: Any, predictor: Predictor
) -> None:
    answer = ask_clicks(predictor, point(20, 10), task=task_with(image=image))

    assert answer["result"] == []


def test_a_click_waits_for_no_request_that_waits_for_the_model(
    predictor: Predictor,
) -> None:
    pre_annotated(predictor)
    for _ in range(8):
        predictor.max_concurrent.acquire()

    answer = ask_clicks(predictor, point(20, 10))

    assert answer["result"]


def test_a_click_beyond_all_seats_changes_nothing(predictor: Predictor) -> None:
    while predictor.max_pending.acquire(blocking=False):
        pass

    assert ask_clicks(predictor, point(20, 10))["result"] == []


def test_a_config_that_draws_nothing_is_no_fault(predictor: Predictor) -> None:
    assert ask_clicks(predictor, point(20, 10), config="<View/>")["result"] == []
    assert ask_clicks(predictor, point(20, 10), config="<View")["result"] == []


def test_what_a_damaged_draft_holds_is_no_fault(predictor: Predictor) -> None:
    broken = region("broken", columns(0, 20), value={"rle": [1, 2], "brushlabels": []})
    other_size = region("small", np.ones((3, 3), np.bool_), original_width=3)

    answer = ask_clicks(
        predictor, point(20, 10), task=task_with(draft=[broken, other_size])
    )

    assert only(answer)["id"] not in {"broken", "small"}


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "value", "rle", "touches", "brushlabels", "item_index"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    odd=st.lists(ODD, max_size=3),
    fields=st.dictionaries(
        st.sampled_from(
            ["id", "type", "from_name", "item_index", "is_positive", "value", "to_name"]
        ),
        ODD,
        max_size=3,
    ),
)
def test_no_question_is_answered_with_a_fault(odd: Any, fields: Any) -> None:
    predictor = make_predictor(ColourSegmenter())

    answer = ask_clicks(
        predictor, point(20, 10), point(20, 10) | fields, task=task_with(draft=odd)
    )

    assert isinstance(answer["result"], list)


def test_a_label_without_a_known_look_is_clicked_by_colour(
    predictor: Predictor,
) -> None:
    config = brush_config('<Label value="unicorn"/>').replace(
        "</View>",
        '<KeyPointLabels name="kp" toName="image"><Label value="unicorn"/>'
        "</KeyPointLabels></View>",
    )

    answer = ask_clicks(predictor, point(20, 10, "unicorn"), config=config)

    assert mask_of(answer)[20, 10]
    assert not mask_of(answer)[20, 50]
