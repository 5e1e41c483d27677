"""Label Studio's own editor shows every kind of region where the object is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.backend_process import Backend
from tests.e2e.browser import Browser
from tests.e2e.examples import CATS_AND_DOGS, LABEL_COLOURS, Picture, render_picture
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import decode_region, label_mask, region_labels, shrink, union
from tests.e2e.painting import (
    MASK_OPACITY_01,
    OUTLINE_OPACITY_01,
    Paint,
    assert_painted,
)
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import predict_task

pytestmark = pytest.mark.e2e

# Brushes' edges are blurred by the browser, outlines are drawn with a line.
_EDGE_PX: Final = 2
_CAT, _DOG = (f"#{bytes(colour).hex()}" for colour in LABEL_COLOURS)
_POLYGON_AND_BITMASK: Final = (
    '<View><Image name="image" value="$image"/>'
    '<PolygonLabels name="outline" toName="image">'
    f'<Label value="cat" background="{_CAT}"/></PolygonLabels>'
    '<BitmaskLabels name="mask" toName="image">'
    f'<Label value="dog" alias="d" background="{_DOG}"/></BitmaskLabels></View>'
)
_RECTANGLE_AND_LABELED_BRUSH: Final = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="box" toName="image">'
    f'<Label value="cat" background="{_CAT}"/></RectangleLabels>'
    '<Labels name="labels" toName="image">'
    f'<Label value="dog" alias="d" background="{_DOG}"/></Labels>'
    '<Brush name="brush" toName="image"/></View>'
)
_PAGES: Final = (
    '<View><Image name="image" valueList="$pages"/>'
    '<BrushLabels name="tag" toName="image">'
    f'<Label value="cat" background="{_CAT}"/>'
    f'<Label value="dog" background="{_DOG}"/></BrushLabels></View>'
)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param(_POLYGON_AND_BITMASK, "polygon-bitmask", id="polygon-bitmask"),
        pytest.param(
            _RECTANGLE_AND_LABELED_BRUSH,
            "rectangle-labels-brush",
            id="rectangle-labels-brush",
        ),
    ],
)
def test_the_editor_draws_the_regions_and_submits_them_unchanged(
    api: LabelStudioApi, backend: Backend, browser: Browser, config: str, name: str
) -> None:
    picture = render_picture(CATS_AND_DOGS[1], "cat", "dog")
    task = predict_task(api, backend, config, {"image": picture}, title=name)
    stored = {
        word: label_mask(task.prediction, name, picture.size_yx)
        for word, name in (("cat", "cat"), ("dog", "d"))
    }

    browser.open_task(task.project_id, task.id)
    assert_painted(
        browser,
        picture.pixels,
        _paints(picture, stored, cat_opacity_01=OUTLINE_OPACITY_01),
        untouched=shrink(~union(stored.values()), by_px=_EDGE_PX),
        screenshot=ARTIFACTS_DIR / f"editor-{name}.png",
    )
    browser.submit()

    (annotation,) = api.annotations(task.id)
    submitted = annotation["result"]
    assert [_identity(r) for r in submitted] == [_identity(r) for r in task.regions]
    for theirs, ours in zip(submitted, task.regions, strict=True):
        np.testing.assert_array_equal(
            decode_region(theirs, picture.size_yx),
            decode_region(ours, picture.size_yx),
        )


def test_the_editor_paints_the_second_page_with_its_own_masks(
    api: LabelStudioApi, backend: Backend, browser: Browser
) -> None:
    pages = [render_picture(example, "cat", "dog") for example in CATS_AND_DOGS]
    second = pages[1]
    task = predict_task(api, backend, _PAGES, {"pages": pages}, title="Pages shown")
    stored = {
        word: label_mask(task.prediction, word, second.size_yx, item_index=1)
        for word in second.truth
    }

    browser.open_task(task.project_id, task.id)
    browser.show_next_page(second.size_yx)

    assert_painted(
        browser,
        second.pixels,
        _paints(second, stored),
        untouched=shrink(~union(stored.values()), by_px=_EDGE_PX),
        screenshot=ARTIFACTS_DIR / "editor-second-page.png",
    )


def _paints(
    picture: Picture,
    stored: Mapping[str, NDArray[np.bool_]],
    *,
    cat_opacity_01: tuple[float, float] = MASK_OPACITY_01,
) -> dict[str, Paint]:
    """Where both the stored region and the object are, and no other region."""
    cat = stored["cat"] & ~stored["dog"] & picture.truth["cat"]
    dog = stored["dog"] & ~stored["cat"] & picture.truth["dog"]
    return {
        "cat": Paint(
            colour=LABEL_COLOURS[0],
            where=shrink(cat, by_px=_EDGE_PX),
            opacity_01=cat_opacity_01,
        ),
        "dog": Paint(colour=LABEL_COLOURS[1], where=shrink(dog, by_px=_EDGE_PX)),
    }


def _identity(region: Mapping[str, Any]) -> Sequence[Any]:
    names = ("id", "type", "from_name", "to_name")
    return [*(region[name] for name in names), region_labels(region)]
