"""A text typed in Label Studio's own editor comes back as a mask to accept."""

from typing import Final

import httpx
import pytest

from tests.e2e.backend_process import Backend
from tests.e2e.browser import Browser
from tests.e2e.examples import CATS_AND_DOGS, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.seeding import predict_task

pytestmark = pytest.mark.e2e

_CONFIG: Final = (
    '<View><Image name="image" value="$image"/>'
    '<TextArea name="prompt" toName="image" rows="2" maxSubmissions="1" '
    'showSubmitButton="true"/>'
    '<BrushLabels name="tag" toName="image"><Label value="animal"/>'
    '<Label value="dog"/></BrushLabels>'
    '<KeyPointLabels name="points" toName="image" smart="true">'
    '<Label value="animal"/></KeyPointLabels></View>'
)
_IOU_FLOOR: Final = 0.6


def test_a_text_typed_in_the_editor_is_segmented_and_replaces_nothing(
    api: LabelStudioApi, label_studio: LabelStudio, backend: Backend, browser: Browser
) -> None:
    picture = render_picture(CATS_AND_DOGS[1], "cat", "dog")
    task = predict_task(api, backend, _CONFIG, {"image": picture}, title="Typed")
    (row,) = api.backends(task.project_id)
    httpx.patch(
        f"{label_studio.url}/api/ml/{row['id']}",
        json={"url": row["url"], "project": task.project_id, "is_interactive": True},
        headers={"Authorization": f"Token {label_studio.legacy_token}"},
        timeout=60,
    ).raise_for_status()

    browser.page.goto(f"{label_studio.url}/projects/{task.project_id}/data")
    browser.page.evaluate("() => localStorage.setItem('autoAnnotation', 'true')")
    browser.open_task(task.project_id, task.id)
    page = browser.page
    page.get_by_test_id("textarea-input").fill("cat")
    with page.expect_response(lambda r: "interactive-annotating" in r.url) as asked:
        page.get_by_test_id("textarea-form").get_by_role("button").click()
    answer = asked.value.json()["data"]
    # The window is that of other tests too.
    page.evaluate("() => localStorage.removeItem('autoAnnotation')")

    assert {region["from_name"] for region in answer["result"]} == {"tag"}
    found = label_mask(answer, "animal", picture.size_yx)
    assert intersection_over_union(found, picture.truth["cat"]) > _IOU_FLOOR
    before = {region["id"] for region in task.regions}
    assert not before & {region["id"] for region in answer["result"]}
