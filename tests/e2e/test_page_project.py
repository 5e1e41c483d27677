"""Tasks and projects of a real Label Studio on the backend's page."""

import pytest
from playwright.sync_api import Playwright, expect

from backend.batch import RunRecords, queue_connection
from backend.label_studio import LabelStudioClient, ProjectTasks
from backend.types import LabelStudioAccess
from tests.e2e.backend_process import Backend
from tests.e2e.examples import CATS_AND_DOGS, Picture, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union
from tests.e2e.page import opened_page
from tests.e2e.seeding import PredictedTask, predict_task
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_CONFIG = (
    '<View><Image name="image" value="$photo"/><BrushLabels name="tag" toName="image">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)


@pytest.fixture
def picture() -> Picture:
    return render_picture(CATS_AND_DOGS[1], "cat", "dog")


@pytest.fixture
def task(
    api: LabelStudioApi,
    backend: Backend,
    label_studio: LabelStudio,
    picture: Picture,
) -> PredictedTask:
    """Predicted, and its project shows the version, so that it has a score."""
    found = predict_task(api, backend, _CONFIG, {"photo": picture}, title="On a page")
    access = LabelStudioAccess(url=label_studio.url, token=label_studio.legacy_token)
    tasks = ProjectTasks(LabelStudioClient(access), found.project_id, retry_for_s=30)
    tasks.show_version(str(found.prediction["model_version"]))
    return found


def test_task_of_a_project_is_drawn_with_its_label_config(
    playwright: Playwright, backend: Backend, task: PredictedTask, picture: Picture
) -> None:
    with opened_page(playwright, f"{backend.url}/") as playground:
        page = playground.page
        page.get_by_text("From an address").click()
        page.get_by_label("Project", exact=True).fill(str(task.project_id))
        page.get_by_label("Task", exact=True).fill(str(task.id))
        page.get_by_role("button", name="Open").last.click()
        playground.expect_status("2 of 2 labels painted")

        assert "$photo" in page.get_by_label("One a line").input_value()
        mask = playground.mask("dog")
        assert intersection_over_union(mask, picture.truth["dog"]) > 0.6


def test_project_shows_its_run_as_it_goes_on_and_its_worst_tasks(
    playwright: Playwright,
    backend: Backend,
    task: PredictedTask,
    redis_server: RedisServer,
    label_studio: LabelStudio,
) -> None:
    records = RunRecords(queue_connection(redis_server.url))
    run = records.begin(task.project_id, "v1", "all")
    records.extend(run, 8, 0)
    records.report(run, [0], {901: "The picture is gone."})
    with opened_page(playwright, f"{backend.url}/page/project") as opened:
        page = opened.page

        opened.tab_to("#number")
        page.keyboard.type(str(task.project_id))
        page.keyboard.press("Enter")

        shown = page.locator("#run")
        expect(shown).to_contain_text("1 of 8 done, 1 failed")
        expect(shown).to_contain_text("The picture is gone.")
        records.report(run, [1, 2, 3], {})
        expect(shown).to_contain_text("4 of 8 done", timeout=20_000)
        expect(shown).to_contain_text("a second")
        worst = page.get_by_role("link", name=f"Task {task.id}: 0.")
        address = f"{label_studio.url}/projects/{task.project_id}/data?task={task.id}"
        expect(worst).to_have_attribute("href", address)
        worst.scroll_into_view_if_needed()
        thumbnail = worst.locator("img")
        assert thumbnail.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0
