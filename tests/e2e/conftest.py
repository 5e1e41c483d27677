"""One Label Studio, one Redis and one backend for the whole session.

Nothing here skips: a missing program is an error that names its remedy.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Playwright, sync_playwright

from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.batches import Command
from tests.e2e.browser import Browser, logged_in_browser
from tests.e2e.examples import PROJECTS
from tests.e2e.label_studio import LabelStudio, running_label_studio
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.object_store import ObjectStore, running_object_store
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import SeededTask, seed_project
from tests.redis_server import RedisServer, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def label_studio(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[LabelStudio]:
    """A Label Studio without projects, strict about predictions."""
    folder = tmp_path_factory.mktemp("label-studio") / "data"
    log_path = ARTIFACTS_DIR / f"label-studio-{worker_id}.log"
    with running_label_studio(folder=folder, log_path=log_path) as server:
        yield server


@pytest.fixture(scope="session")
def api(label_studio: LabelStudio) -> Iterator[LabelStudioApi]:
    """Label Studio's API with the legacy token."""
    token = label_studio.legacy_token
    with api_with_legacy_token(label_studio.url, token) as client:
        yield client


@pytest.fixture(scope="session")
def backend(
    label_studio: LabelStudio,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backend]:
    """The backend with the pocket model, Redis and the legacy token."""
    with running_backend(
        label_studio_url=label_studio.url,
        token=label_studio.legacy_token,
        cache_dir=tmp_path_factory.mktemp("backend-cache"),
        log_path=ARTIFACTS_DIR / "backend.log",
        redis_url=redis_server.url,
    ) as process:
        yield process


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3-compatible server with an empty bucket."""
    log_path = ARTIFACTS_DIR / "object-store.log"
    with running_object_store(bucket="pictures", log_path=log_path) as server:
        yield server


@pytest.fixture(scope="session")
def predicted_tasks(api: LabelStudioApi, backend: Backend) -> list[SeededTask]:
    """All example projects, each after one "Retrieve predictions"."""
    tasks: list[SeededTask] = []
    for project in PROJECTS:
        seeded = seed_project(api, project, backend_url=backend.url)
        api.retrieve_predictions(seeded[0].project_id)
        tasks += seeded
    empty = [task.example.file_name for task in tasks if not api.predictions(task.id)]
    if empty:
        log = (ARTIFACTS_DIR / "backend.log").read_text(errors="replace")
        pytest.fail(
            f"No prediction is stored for {empty}. End of its log:\n{log[-3000:]}"
        )
    return tasks


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """What opens browsers; there is one of it in a thread."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(
    playwright: Playwright,
    label_studio: LabelStudio,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    """A Chromium window that is logged in."""
    folder = tmp_path_factory.mktemp("chromium")
    with logged_in_browser(
        playwright, label_studio=label_studio, folder=folder
    ) as window:
        yield window


@pytest.fixture(autouse=True)
def no_command_is_left() -> Iterator[None]:
    """Whatever a test has begun ends with it."""
    yield
    Command.end_all()
