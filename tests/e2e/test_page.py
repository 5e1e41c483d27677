"""The playground, by mouse and by keyboard, in a real Chromium."""

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Playwright, expect

from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.examples import CATS_AND_DOGS, Picture, render_picture
from tests.e2e.masks import intersection_over_union
from tests.e2e.page import NARROW, Playground, opened_page
from tests.e2e.processes import ARTIFACTS_DIR

pytestmark = pytest.mark.e2e

_IOU_FLOOR = 0.6
_LABELS = "cat\ndog\ntree"
_PASSES = "diffsegmenter_images_segmented_total"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBackend]:
    with running_backend(
        cache_dir=tmp_path_factory.mktemp("page-cache"),
        log_path=ARTIFACTS_DIR / "backend-page.log",
    ) as process:
        yield process


@pytest.fixture(scope="module")
def picture() -> Picture:
    return render_picture(CATS_AND_DOGS[1], "cat", "dog")


@pytest.fixture
def playground(playwright: Playwright, served: ServedBackend) -> Iterator[Playground]:
    with opened_page(playwright, f"{served.url}/") as opened:
        yield opened


def test_dropped_picture_gets_masks_where_its_objects_are(
    playground: Playground, picture: Picture
) -> None:
    playground.page.get_by_label("One a line").fill(_LABELS)
    dropped = playground.page.evaluate_handle(
        """text => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "scene.png"));
            return transfer;
        }""",
        base64.b64encode(picture.content).decode(),
    )
    playground.page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    playground.expect_status("2 of 3 labels painted")

    masks = playground.masks()
    assert set(masks) == {"cat", "dog"}
    for name, mask in masks.items():
        assert intersection_over_union(mask, picture.truth[name]) > _IOU_FLOOR
    expect(playground.row("tree")).to_contain_text("not in the picture")


def test_sliders_recut_without_a_pass_by_keyboard_and_by_mouse(
    playground: Playground, picture: Picture, served: ServedBackend
) -> None:
    playground.choose(picture, _LABELS)
    passes, before = served.metric(_PASSES), playground.mask("cat").sum()
    threshold = playground.page.get_by_label("Threshold of pixels")

    playground.tab_to("#threshold")
    for _ in range(30):
        playground.page.keyboard.press("ArrowRight")
    playground.expect_status("from kept maps")
    expect(playground.page.locator("#variables")).to_have_value(
        _with(f"MODEL_SCORE_THRESHOLD={threshold.input_value()}")
    )
    higher = playground.mask("cat").sum()
    box = threshold.bounding_box()
    assert box is not None
    playground.page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 5)
    expect(playground.page.locator("#variables")).to_have_value(
        _with(f"MODEL_SCORE_THRESHOLD={threshold.input_value()}")
    )
    lower = playground.mask("cat").sum()
    playground.tab_to("#presence")
    playground.page.keyboard.press("Home")
    playground.expect_status("3 of 3 labels painted")
    playground.page.keyboard.press("End")
    playground.expect_status("0 of 3 labels painted")
    playground.tab_to("#guided")
    playground.page.keyboard.press("Space")
    expect(playground.page.locator("#config")).to_have_value(
        _with('model_boundaries="off"')
    )
    playground.tab_to("#reset")
    playground.page.keyboard.press("Enter")
    playground.expect_status("2 of 3 labels painted")

    assert higher < before < lower
    assert playground.mask("cat").sum() == before
    assert served.metric(_PASSES) == passes


def test_relevance_map_shows_under_the_mouse_and_with_the_focus(
    playground: Playground, picture: Picture
) -> None:
    playground.choose(picture, _LABELS)
    shown = playground.page.locator("#map")
    expect(shown).to_be_hidden()

    playground.label("cat").hover()
    expect(shown).to_be_visible()
    assert shown.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
    playground.page.mouse.move(5, 5)
    expect(shown).to_be_hidden()
    playground.label("dog").focus()
    expect(shown).to_be_visible()
    playground.page.keyboard.press("Tab")
    expect(shown).to_be_hidden()


def test_clicks_and_boxes_mend_one_mask_and_can_be_taken_back(
    playground: Playground, picture: Picture
) -> None:
    playground.choose(picture, _LABELS)
    before = playground.masks()
    rows, columns = np.nonzero(before["cat"])
    place = float(rows[0]) + 0.5, float(columns[0]) + 0.5

    playground.label("cat").click()
    playground.page.mouse.move(*playground.screen(place, picture.size_yx))
    playground.page.mouse.click(*playground.screen(place, picture.size_yx))
    playground.expect_status("cat is redrawn")
    with_click = playground.masks()
    playground.page.keyboard.down("Alt")
    playground.page.mouse.click(*playground.screen(place, picture.size_yx))
    playground.page.keyboard.up("Alt")
    expect(playground.page.locator("#marks .negative")).to_have_count(1)
    playground.page.get_by_role("button", name="Undo click").click()
    expect(playground.page.locator("#marks .mark")).to_have_count(1)
    playground.page.get_by_role("button", name="Undo click").click()
    playground.expect_status("taken back")
    undone = playground.masks()
    truth = np.nonzero(picture.truth["dog"])
    top_left = truth[0].min() - 1.0, truth[1].min() - 1.0
    bottom_right = truth[0].max() + 2.0, truth[1].max() + 2.0
    playground.label("dog").click()
    playground.page.mouse.move(*playground.screen(top_left, picture.size_yx))
    playground.page.mouse.down()
    playground.page.mouse.move(*playground.screen(bottom_right, picture.size_yx))
    playground.page.mouse.up()
    playground.expect_status("dog is redrawn")
    expect(playground.page.locator("#marks .box")).to_have_count(1)
    playground.page.get_by_role("button", name="Next object").click()
    expect(playground.page.locator("#marks .box")).to_have_count(0)

    assert (with_click["dog"] == before["dog"]).all()
    assert with_click["cat"][int(place[0]), int(place[1])]
    assert all((undone[name] == before[name]).all() for name in before)
    boxed = playground.mask("dog")
    assert intersection_over_union(boxed, picture.truth["dog"]) > _IOU_FLOOR


def test_keyboard_alone_clicks_and_draws_a_box(
    playground: Playground, picture: Picture
) -> None:
    playground.choose(picture, _LABELS)
    playground.label("dog").focus()
    playground.page.keyboard.press("Enter")
    playground.expect_status("now mend dog")
    before = playground.masks()
    press = playground.page.keyboard.press

    playground.page.keyboard.press("Shift+Tab")
    playground.tab_to("#stage")
    for _ in range(5):
        press("Shift+ArrowUp")
        press("Shift+ArrowLeft")
    press("b")
    for _ in range(10):
        press("Shift+ArrowDown")
        press("Shift+ArrowRight")
    press("b")
    expect(playground.page.locator("#marks .box")).to_have_count(1)
    playground.expect_status("dog")
    for _ in range(10):
        press("Shift+ArrowUp")
    press("Delete")
    expect(playground.page.locator("#marks .negative")).to_have_count(1)
    press("Enter")
    expect(playground.page.locator("#marks .mark")).to_have_count(2)

    after = playground.masks()
    assert (after["cat"] == before["cat"]).all()
    assert set(after) >= {"cat", "dog"}


def test_masks_can_be_hidden_and_what_is_shown_copied_and_saved(
    playground: Playground, picture: Picture
) -> None:
    page = playground.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    playground.choose(picture, _LABELS)
    mask = playground.mask("cat")

    page.get_by_label("Show the mask of dog").uncheck()
    expect(page.locator("#masks img:visible")).to_have_count(1)
    page.get_by_text("Label config with these thresholds").click()
    page.get_by_role("button", name="Copy config").click()
    playground.expect_status("Copied")
    config = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").click()

    assert '<Label value="cat"' in config
    with Image.open(Path(saved.value.path())) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[:2] == picture.size_yx
    expected = picture.pixels.astype(float)
    expected[mask] = 0.4 * expected[mask] + 0.6 * np.array([230, 58, 34])
    assert np.abs(pixels - expected).mean() < 4


def test_label_config_of_its_own_counts_with_all_its_attributes(
    playground: Playground, picture: Picture
) -> None:
    config = (
        '<View><Image name="photo" value="$photo"/><PolygonLabels name="p" '
        'toName="photo" model_score_threshold="0.8"><Label value="Katze" '
        'model_prompt="cat"/><Label value="dog" model_skip="true"/>'
        "</PolygonLabels></View>"
    )

    playground.choose(picture, config)

    expect(playground.page.locator("#threshold-is")).to_have_text("0.80")
    assert set(playground.masks()) == {"Katze"}
    overlap = intersection_over_union(playground.mask("Katze"), picture.truth["cat"])
    assert overlap > _IOU_FLOOR / 2
    expect(playground.page.locator("#config")).to_have_value(_with("$photo"))


def test_address_is_opened_and_bad_input_is_told(
    playground: Playground, picture: Picture
) -> None:
    page = playground.page
    page.get_by_label("One a line").fill(_LABELS)
    page.get_by_text("From an address").click()

    page.get_by_label("Address").fill("http://127.0.0.1:1/secret.png")
    page.get_by_label("Address").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("127.0.0.1:1")
    content = base64.b64encode(picture.content).decode()
    page.get_by_label("Address").fill(f"data:image/png;base64,{content}")
    page.get_by_role("button", name="Open").first.click()
    playground.expect_status("2 of 3 labels painted")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_label("One a line").fill("<View>")
    page.get_by_role("button", name="Draw masks").click()
    expect(page.get_by_role("alert")).to_contain_text("label config")
    page.get_by_label("Project", exact=True).fill("1")
    page.get_by_label("Task", exact=True).fill("1")
    page.get_by_label("Task", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("LABEL_STUDIO_URL")
    page.get_by_label("Drop a picture here").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    expect(page.get_by_role("alert")).to_contain_text("image")


def test_narrow_dark_page_needs_no_scrolling_sideways(
    playwright: Playwright, served: ServedBackend, picture: Picture
) -> None:
    with opened_page(
        playwright, f"{served.url}/", viewport=NARROW, scheme="dark"
    ) as playground:
        playground.choose(picture, _LABELS)
        width = playground.page.evaluate("document.documentElement.scrollWidth")
        ground = playground.page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        shot = playground.page.screenshot()

    assert width == NARROW["width"]
    assert ground == "rgb(18, 23, 29)"
    with Image.open(BytesIO(shot)) as image:
        assert np.asarray(image.convert("L")).mean() < 128


def _with(text: str) -> re.Pattern[str]:

    return re.compile(re.escape(text))
