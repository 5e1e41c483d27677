"""Clicks and boxes in Label Studio's own editor, asserted on what it stores.

A smart point or rectangle gives one region, of its object's own id, and nothing else of
the annotation changes by a pixel.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backend.regions import seen_regions
from tests.e2e.backend_process import Backend
from tests.e2e.browser import Browser
from tests.e2e.clicking import (
    ClickEditor,
    Place,
    connect_interactive,
    forget_settings,
    open_with_smart_tools,
)
from tests.e2e.examples import (
    CATS_AND_DOGS,
    LABEL_COLOURS,
    Picture,
    render_picture,
)
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, shrink
from tests.e2e.painting import MASK_OPACITY_01, Paint, assert_painted
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import PredictedTask, predict_task

pytestmark = pytest.mark.e2e

Mask = NDArray[np.bool_]
Results = Sequence[Mapping[str, Any]]

_CAT, _DOG = (f"#{bytes(colour).hex()}" for colour in LABEL_COLOURS)
_LABELS: Final = (
    f'<Label value="cat" background="{_CAT}"/><Label value="dog" background="{_DOG}"/>'
)
# The config of docs/interactive.md; the brush answers "dog" by an alias.
_CONFIG: Final = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image" smart="false">'
    + _LABELS.replace('"dog"', '"dog" alias="d"')
    + '</BrushLabels><KeyPointLabels name="points" toName="image" smart="true">'
    + _LABELS
    + '</KeyPointLabels><RectangleLabels name="boxes" toName="image" smart="true">'
    + _LABELS
    + "</RectangleLabels></View>"
)
_TAGS: Final = {name: ("cat", "dog") for name in ("tag", "points", "boxes")}
_POINT: Final = "key-point-tool"
_BOX: Final = "rectangle-tool"
_IOU_FLOOR: Final = 0.7
_EDGE_PX: Final = 2
# Grey levels: masks are not quite opaque.
_COLOUR_TOLERANCE: Final = 110
# Of a stroke's mask: browsers have round ends of their own.
_STROKE_TOLERANCE_01: Final = 0.03


@pytest.fixture
def picture() -> Picture:
    return render_picture(CATS_AND_DOGS[1], "cat", "dog")


@pytest.fixture
def task(
    api: LabelStudioApi, backend: Backend, picture: Picture, request: Any
) -> PredictedTask:
    """Pre-annotated with a cat and a dog; the backend is asked by smart tools."""
    title = request.node.name[:50]
    found = predict_task(api, backend, _CONFIG, {"image": picture}, title=title)
    connect_interactive(api, found.project_id)
    return found


@pytest.fixture
def window(browser: Browser) -> Iterator[Browser]:
    """The window of all tests, which are not to have these settings."""
    yield browser
    forget_settings(browser)


def opened(
    window: Browser,
    api: LabelStudioApi,
    task: PredictedTask,
    picture: Picture,
    **settings: bool,
) -> ClickEditor:
    return open_with_smart_tools(
        window, api, task, size_yx=picture.size_yx, tags=_TAGS, **settings
    )


def masks(results: Results) -> dict[str, Mask]:
    """What each region covers, by its id."""
    found = {name: region.mask() for name, region in seen_regions(results).items()}
    return {name: mask for name, mask in found.items() if mask is not None}


def ids(results: Results) -> dict[str, str]:
    """Ids of the brush regions by their label, of which each has one."""
    return {r["value"]["brushlabels"][0]: r["id"] for r in drawn(results)}


def drawn(results: Results) -> list[Mapping[str, Any]]:
    return [r for r in results if r["type"] == "brushlabels"]


def innermost(mask: Mask) -> Place:
    """A place far within a mask, at the centre of a pixel."""
    depth = np.zeros(mask.shape, int)
    while mask.any():
        depth += mask
        mask = shrink(mask, by_px=1)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row) + 0.5, int(column) + 0.5


def farthest(mask: Mask, place: Place) -> Place:
    """The place of a mask that is farthest from another, at the centre of a pixel."""
    rows, columns = np.nonzero(mask)
    far = int(np.hypot(rows - place[0], columns - place[1]).argmax())
    return int(rows[far]) + 0.5, int(columns[far]) + 0.5


def corners(mask: Mask, *, beyond_px: int) -> tuple[Place, Place]:
    rows, columns = np.nonzero(mask)
    return (
        (rows.min() - beyond_px, columns.min() - beyond_px),
        (rows.max() + 1 + beyond_px, columns.max() + 1 + beyond_px),
    )


def point_chosen(editor: ClickEditor, label: str = "cat") -> ClickEditor:
    editor.choose("points", label)
    editor.take_smart_tool(_POINT)
    return editor


def assert_shown(editor: ClickEditor, picture: Picture, name: str, mask: Mask) -> None:
    """The editor paints the cat's mask where the cat is, in its colour."""
    inside = shrink(mask & picture.truth["cat"], by_px=_EDGE_PX)
    outside = ~mask & ~picture.truth["dog"] & ~picture.truth["cat"]
    assert_painted(
        editor.browser,
        picture.pixels,
        {
            "cat": Paint(
                colour=LABEL_COLOURS[0], where=inside, opacity_01=MASK_OPACITY_01
            )
        },
        untouched=shrink(outside, by_px=2 * _EDGE_PX),
        screenshot=ARTIFACTS_DIR / f"clicks-{name}.png",
    )


def test_a_click_refines_the_object_in_place_and_touches_nothing_else(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    before = ids(task.regions)
    editor = point_chosen(opened(window, api, task, picture))

    answer = editor.click(innermost(picture.truth["cat"]), through=True)

    (region,) = answer
    assert region["id"] == before["cat"]
    editor.accept()
    stored = editor.submit()
    assert ids(stored) == before
    assert {r["id"]: r["origin"] for r in stored} == {
        before["cat"]: "manual",
        before["d"]: "prediction",
    }
    mine, theirs = masks(stored), masks(task.regions)
    np.testing.assert_array_equal(mine[before["d"]], theirs[before["d"]])
    np.testing.assert_array_equal(mine[before["cat"]], masks(answer)[before["cat"]])
    truth = picture.truth["cat"]
    assert intersection_over_union(mine[before["cat"]], truth) > _IOU_FLOOR


def test_a_negative_click_takes_from_the_mask_that_it_lies_in(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    before = ids(task.regions)
    place = innermost(masks(task.regions)[before["cat"]])
    editor = point_chosen(opened(window, api, task, picture))

    (region,) = editor.click(place, is_positive=False, through=True)

    assert region["id"] == before["cat"]
    found = masks([region])[before["cat"]]
    assert not found[int(place[0]), int(place[1])]
    old = masks(task.regions)[before["cat"]]
    assert (found & ~old).sum() < 0.05 * old.sum()
    assert found.sum() < old.sum()
    editor.accept()
    stored = masks(editor.submit())
    np.testing.assert_array_equal(stored[before["cat"]], found)


def test_a_negative_click_in_no_mask_gives_no_suggestion(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    editor = point_chosen(opened(window, api, task, picture))

    assert editor.click((3.5, 100.5), is_positive=False) == []


def test_a_box_gives_a_new_object_and_leaves_the_others(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    """The cat's region is deleted, and a box around the cat draws one anew."""
    before = ids(task.regions)
    editor = opened(window, api, task, picture)
    editor.select_region(0)
    window.page.keyboard.press("Backspace")
    editor.draft(lambda results: ids(results) == {"d": before["d"]})
    editor.choose("boxes", "cat")
    editor.take_smart_tool(_BOX)

    (region,) = editor.box(*corners(picture.truth["cat"], beyond_px=3))

    assert region["id"] not in before.values()
    editor.accept()
    stored = editor.submit()
    assert ids(stored) == {"cat": region["id"], "d": before["d"]}
    mine = masks(stored)
    truth = picture.truth["cat"]
    assert intersection_over_union(mine[region["id"]], truth) > _IOU_FLOOR
    np.testing.assert_array_equal(mine[before["d"]], masks(task.regions)[before["d"]])


def test_an_accepted_mask_is_refined_by_the_next_click_at_once_and_later(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    """Before the draft holds the accepted mask, and after."""
    before = ids(task.regions)
    place = innermost(picture.truth["cat"])
    editor = point_chosen(opened(window, api, task, picture))
    (first,) = editor.click(place, is_positive=False, through=True)
    editor.accept()

    point_chosen(editor)
    (second,) = editor.click(place)
    editor.accept()
    editor.draft(
        lambda results: np.array_equal(
            masks(results)[before["cat"]], masks([second])[before["cat"]]
        )
    )
    point_chosen(editor)
    (third,) = editor.click(place, is_positive=False, through=True)

    pixel = int(place[0]), int(place[1])
    found = [masks([region])[before["cat"]] for region in (first, second, third)]
    assert [bool(mask[pixel]) for mask in found] == [False, True, False]
    assert {r["id"] for r in (first, second, third)} == {before["cat"]}
    # From the mask that was accepted, and not from the pre-annotation.
    assert (found[2] & ~found[1]).sum() < 0.1 * found[1].sum()


def test_several_clicks_add_up_until_they_are_accepted(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    before = ids(task.regions)
    mask = masks(task.regions)[before["cat"]]
    first = innermost(mask)
    editor = opened(window, api, task, picture, keeps_label=True)
    point_chosen(editor)

    editor.click(first, through=True)
    place = farthest(mask, first)
    (region,) = editor.click(place, is_positive=False, through=True)

    found = masks([region])[before["cat"]]
    assert found[int(first[0]), int(first[1])]
    assert not found[int(place[0]), int(place[1])]


def test_two_labels_in_turn_refine_two_objects(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    before = ids(task.regions)
    editor = opened(window, api, task, picture)
    answers = {}
    for clicked, label in (("cat", "cat"), ("dog", "d")):
        point_chosen(editor, clicked)
        (answers[label],) = editor.click(
            innermost(picture.truth[clicked]), through=True
        )
        editor.accept()

    stored = editor.submit()

    assert {label: region["id"] for label, region in answers.items()} == before
    assert ids(stored) == before
    mine = masks(stored)
    for region in answers.values():
        np.testing.assert_array_equal(mine[region["id"]], masks([region])[region["id"]])
    assert {region["origin"] for region in stored} == {"manual"}


@pytest.mark.parametrize("keeps_label", [False, True], ids=["label-off", "label-on"])
def test_what_is_accepted_by_itself_is_stored_as_it_was_answered(
    api: LabelStudioApi,
    window: Browser,
    task: PredictedTask,
    picture: Picture,
    keeps_label: bool,
) -> None:
    before = ids(task.regions)
    place = innermost(picture.truth["cat"])
    editor = opened(
        window, api, task, picture, accepts_itself=True, keeps_label=keeps_label
    )
    point_chosen(editor)
    (first,) = editor.click(place, is_positive=False, through=True)
    if not keeps_label:
        point_chosen(editor)
    (last,) = editor.click(place)

    stored = editor.submit()

    assert first["id"] == last["id"] == before["cat"]
    # With a label that stays selected, a key point of the same id bears the mask.
    twins = [r for r in stored if r["type"] == "keypointlabels"]
    assert [r["id"] for r in twins] == ([before["cat"]] if keeps_label else [])
    assert ids(stored) == before
    mine = masks(drawn(stored))
    np.testing.assert_array_equal(mine[before["cat"]], masks([last])[before["cat"]])
    np.testing.assert_array_equal(mine[before["d"]], masks(task.regions)[before["d"]])


def test_a_refused_suggestion_changes_nothing(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    editor = point_chosen(opened(window, api, task, picture))
    editor.click(innermost(picture.truth["cat"]), is_positive=False, through=True)
    editor.reject()

    stored = masks(editor.submit())

    for name, mask in masks(task.regions).items():
        np.testing.assert_array_equal(stored[name], mask)


def test_clicks_leave_what_was_corrected_by_hand_as_it_is_by_a_pixel(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    """The dog is corrected with brush and eraser, and then the cat is clicked."""
    before = ids(task.regions)
    editor = opened(window, api, task, picture)
    window.page.keyboard.press("Escape")
    editor.select_region(1)
    editor.take_tool("brush-tool")
    editor.drag([(100, 90), (104, 120), (90, 150)])
    editor.take_tool("eraser")
    editor.drag([(60, 110), (64, 125)])
    corrected = editor.draft(lambda results: len(_touches(results, before["d"])) == 2)
    window.page.keyboard.press("Escape")
    point_chosen(editor)
    (answer,) = editor.click(innermost(picture.truth["cat"]), through=True)
    editor.accept()

    stored = editor.submit()

    assert answer["id"] == before["cat"]
    assert {r["id"]: r["origin"] for r in stored} == {
        before["cat"]: "manual",
        before["d"]: "prediction-changed",
    }
    mine = masks(stored)
    np.testing.assert_array_equal(mine[before["cat"]], masks([answer])[before["cat"]])
    # What the editor burns in by itself, where nobody clicks.
    untouched = _submitted_without_a_click(api, window, task, corrected)
    np.testing.assert_array_equal(mine[before["d"]], untouched[before["d"]])
    assert (mine[before["d"]] != masks(task.regions)[before["d"]]).sum() > 100


def test_a_click_starts_from_what_was_painted_and_erased_by_hand(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    """Strokes are drawn here as the editor draws them, but for pixels of the edge."""
    before = ids(task.regions)
    editor = opened(window, api, task, picture)
    editor.select_region(1)
    editor.take_tool("brush-tool")
    editor.drag([(100, 90), (104, 120), (90, 150)])
    editor.take_tool("eraser")
    editor.drag([(60, 110), (64, 125)])
    draft = editor.draft(lambda results: len(_touches(results, before["d"])) == 2)
    ours = masks(draft)[before["d"]]
    window.page.keyboard.press("Escape")
    point_chosen(editor, "dog")
    erased = (62, 117)
    away = farthest(shrink(ours & picture.truth["dog"], by_px=_EDGE_PX), erased)
    (answer,) = editor.click(away, through=True)

    found = masks([answer])[before["d"]]
    assert answer["id"] == before["d"]
    # Far from the click: what was painted is there, what was erased is not.
    assert found[104, 118]
    assert not found[erased]
    editor.reject()
    theirs = masks(editor.submit())[before["d"]]
    differs = ours != theirs
    assert differs.sum() <= _STROKE_TOLERANCE_01 * theirs.sum()
    assert not (differs & (shrink(theirs, by_px=1) | shrink(~theirs, by_px=1))).any()


def test_the_editor_shows_the_clicked_mask_on_the_object(
    api: LabelStudioApi, window: Browser, task: PredictedTask, picture: Picture
) -> None:
    editor = point_chosen(opened(window, api, task, picture))
    answer = editor.click(innermost(picture.truth["cat"]), through=True)
    editor.accept()

    (mask,) = masks(answer).values()
    assert_shown(editor, picture, "accepted", mask)


def test_what_was_said_about_a_region_outlives_a_click(
    api: LabelStudioApi, backend: Backend, window: Browser, picture: Picture
) -> None:
    """The editor replaces a region by an accepted one with all that it bears."""
    choices = (
        '<Choices name="quality" toName="image" perRegion="true">'
        '<Choice value="sharp"/></Choices></View>'
    )
    config = _CONFIG.replace("</View>", choices)
    task = predict_task(api, backend, config, {"image": picture}, title="Said")
    connect_interactive(api, task.project_id)
    before = ids(task.regions)
    editor = opened(window, api, task, picture)
    editor.select_region(0)
    window.page.get_by_text("sharp").first.click()
    editor.draft(lambda results: "choices" in {r["type"] for r in results})
    window.page.keyboard.press("Escape")
    point_chosen(editor)
    editor.click(innermost(picture.truth["cat"]), through=True)
    editor.accept()

    stored = editor.submit()

    (said,) = [r for r in stored if r["type"] == "choices"]
    assert (said["id"], said["value"]["choices"]) == (before["cat"], ["sharp"])
    assert ids(stored) == before


def test_a_click_on_a_turned_picture_is_of_the_upright_one(
    api: LabelStudioApi, backend: Backend, window: Browser, picture: Picture
) -> None:
    config = _CONFIG.replace('"$image"', '"$image" rotateControl="true"')
    task = predict_task(api, backend, config, {"image": picture}, title="Turned")
    connect_interactive(api, task.project_id)
    editor = opened(window, api, task, picture)
    page = window.page
    page.get_by_role("button", name="rotate-right").click()
    page.wait_for_timeout(1000)
    point_chosen(editor)
    at = _place_of_colour(window, LABEL_COLOURS[0])
    with page.expect_response(lambda r: "interactive-annotating" in r.url) as asked:
        page.keyboard.down("Control")
        page.mouse.click(*at)
        page.keyboard.up("Control")
    (click,) = asked.value.request.post_data_json["context"]["result"]
    editor.accept()

    stored = editor.submit()

    assert click["image_rotation"] == 90
    rows, columns = picture.size_yx
    y, x = click["value"]["y"] * rows / 100, click["value"]["x"] * columns / 100
    (answer,) = asked.value.json()["data"]["result"]
    mine = masks(stored)[answer["id"]]
    np.testing.assert_array_equal(mine, masks([answer])[answer["id"]])
    assert mine[int(y), int(x)]
    # Somebody has clicked on what is painted as a cat.
    assert answer["id"] == ids(task.regions)["cat"]
    assert masks(task.regions)[answer["id"]][int(y), int(x)]


def _place_of_colour(window: Browser, colour: tuple[int, int, int]) -> Place:
    """Where the window shows most of a colour in one place: x, y."""
    with Image.open(BytesIO(window.page.screenshot())) as shot:
        screen = np.asarray(shot.convert("RGB")).astype(int)
    # The labels and the list beside the picture have the colour as well, and are thin.
    row, column = innermost(np.abs(screen - colour).max(axis=2) < _COLOUR_TOLERANCE)
    return column, row


def _touches(results: Results, name: str) -> Sequence[Any]:
    found = [r for r in drawn(results) if r["id"] == name]
    touches: Sequence[Any] = found[0]["value"].get("touches", []) if found else []
    return touches


def _submitted_without_a_click(
    api: LabelStudioApi, window: Browser, task: PredictedTask, draft: Results
) -> dict[str, Mask]:
    """What the editor makes of a draft by itself: the same strokes, burnt in.

    Rendered by the browser's own canvas from the draft's numbers, as the editor does.
    """
    found = {}
    for region in drawn(draft):
        rows, columns = region["original_height"], region["original_width"]
        value = region["value"]
        alpha = np.zeros((rows, columns), np.uint8)
        below = dict(value)
        touches = below.pop("touches", [])
        if below.get("rle"):
            alpha[seen_regions([{**region, "value": below}])[region["id"]].mask()] = 255
        drawn_alpha = window.page.evaluate(
            _CANVAS, [rows, columns, alpha.reshape(-1).tolist(), touches]
        )
        found[region["id"]] = np.reshape(drawn_alpha, (rows, columns)) >= 128
    return found


# The editor's `exportRLE`.
_CANVAS: Final = """([rows, columns, alpha, touches]) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [columns, rows];
    const ctx = canvas.getContext('2d');
    const below = ctx.createImageData(columns, rows);
    alpha.forEach((a, i) => below.data.set([a, a, a, a], 4 * i));
    ctx.putImageData(below, 0, 0);
    for (const touch of touches) {
        const p = touch.relativePoints;
        ctx.save();
        ctx.beginPath();
        ctx.moveTo(columns * p[0] / 100, rows * p[1] / 100);
        for (let i = 0; i < p.length / 2; i++)
            ctx.lineTo(columns * p[2 * i] / 100, rows * p[2 * i + 1] / 100);
        ctx.lineWidth = touch.relativeStrokeWidth / 100 * columns;
        ctx.lineCap = ctx.lineJoin = 'round';
        ctx.globalCompositeOperation =
            touch.type === 'add' ? 'source-over' : 'destination-out';
        ctx.stroke();
    }
    const data = ctx.getImageData(0, 0, columns, rows).data;
    return Array.from({length: rows * columns}, (_, i) => data[4 * i + 3]);
}"""
