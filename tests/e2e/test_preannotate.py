"""`diffsegmenter preannotate` as a team lead uses it, against a real Label Studio."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.batches import (
    WATCHED,
    Batch,
    finished,
    ids_of,
    new_batch,
    picture,
    running_worker,
    wait_until,
)
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.processes import ARTIFACTS_DIR
from tests.fakes import data_uri
from tests.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.e2e

_SECRET = "wh-3f9c1d7e5b2a4861"

_OLD: Final = "diffsegmenter-pocket-fast-00000000"
_THEIRS: Final = "yolo-8"
# More than any machine does while commands start and are left.
_MANY: Final = 400


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def worker(
    label_studio: LabelStudio,
    redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """One worker that sleeps for a moment over each picture."""
    environment = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        "REDIS_URL": redis.url,
        "CACHE_DIR": str(tmp_path_factory.mktemp("worker")),
    }
    log_path = ARTIFACTS_DIR / "worker.log"
    with running_worker(environment, log_path=log_path, sleep_s=0.05):
        yield


@pytest.fixture
def batch(
    api: LabelStudioApi, label_studio: LabelStudio, redis: RedisServer, tmp_path: Path
) -> Batch:
    """Twelve tasks, for workers."""
    return new_batch(api, label_studio, 12, cache_dir=tmp_path, redis_url=redis.url)


def test_a_project_is_done_once_and_then_there_is_nothing_to_do(
    batch: Batch, worker: None
) -> None:
    plan = batch.run("--dry-run")
    assert not batch.predictions()

    some = batch.run("--limit", "5")
    n_some = len(batch.predictions())
    rest = batch.run()
    again = batch.run()

    assert "To do: 12 tasks." in plan
    assert n_some == 5
    assert "5 of 5 tasks hold a prediction" in some
    assert "7 of 7 tasks hold a prediction" in rest
    assert "Nothing to do: no task lacks a prediction" in again
    batch.assert_each_once()


def test_only_what_a_tab_shows_or_what_is_named_is_done(
    api: LabelStudioApi, batch: Batch, worker: None
) -> None:
    tasks = api.tasks(batch.project_id)
    first_id, last_id = tasks[0]["id"], tasks[-1]["id"]
    tab = api.create_tab(
        batch.project_id,
        {
            "conjunction": "and",
            "items": [
                {
                    "filter": "filter:tasks:id",
                    "operator": "less",
                    "type": "Number",
                    "value": first_id + 3,
                }
            ],
        },
    )

    batch.run("--tab", str(tab))
    of_tab = {row["task"] for row in batch.predictions()}
    batch.run("--tasks", ids_of([tasks[0], tasks[-1]]))

    assert of_tab == {first_id, first_id + 1, first_id + 2}
    assert {row["task"] for row in batch.predictions()} == {*of_tab, last_id}
    assert len(batch.predictions()) == 4


def test_earlier_versions_go_once_the_new_one_is_there(
    api: LabelStudioApi, batch: Batch, worker: None
) -> None:
    tasks = api.tasks(batch.project_id)
    broken = api.import_tasks(batch.project_id, [{"image": data_uri(b"no image")}])
    for task in (*tasks, *broken):
        api.store_prediction(task["id"], _OLD)
        api.store_prediction(task["id"], _THEIRS)

    kept = batch.run(status=1)
    n_kept = len(batch.predictions())
    replaced = batch.run("--replace", status=1)

    assert "12 of 13 tasks hold a prediction" in kept
    assert n_kept == 3 * 12 + 2
    versions: dict[int, list[str]] = {}
    for row in batch.predictions():
        versions.setdefault(row["task"], []).append(row["model_version"])
    assert "12 of 13 tasks hold a prediction" in replaced
    for task in tasks:
        assert len(versions[task["id"]]) == 2
        assert _OLD not in versions[task["id"]]
        assert _THEIRS in versions[task["id"]]
    # Without a new prediction the old one is all there is.
    assert set(versions[broken[0]["id"]]) == {_OLD, _THEIRS}


def test_tasks_that_fail_are_listed_with_reasons_and_sink_no_others(
    api: LabelStudioApi, batch: Batch, worker: None, tmp_path: Path
) -> None:
    broken, secret = api.import_tasks(
        batch.project_id,
        [{"image": data_uri(b"no image")}, {"image": "file:///etc/passwd"}],
    )

    ended = batch.run("--failures", str(tmp_path / "failures.json"), status=1)

    assert "12 of 14 tasks hold a prediction" in ended
    assert f"task {broken['id']}: " in ended
    written = json.loads((tmp_path / "failures.json").read_text())
    assert [row["task"] for row in written] == [broken["id"], secret["id"]]
    assert "file:" in written[1]["reason"]
    assert len(batch.predictions()) == 12


def test_a_run_can_be_left_watched_again_and_canceled(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    with running_redis() as redis:
        batch = new_batch(
            api, label_studio, _MANY, cache_dir=tmp_path, redis_url=redis.url
        )
        log_path = ARTIFACTS_DIR / "worker-slow.log"
        with running_worker(batch.environment, log_path=log_path, sleep_s=0.3):
            command = batch.start()
            batch.wait_until_stored(1)
            command.wait_until_said(WATCHED)
            command.send_signal(signal.SIGINT)
            left = finished(command, status=130)
            watching = batch.start("--watch")
            watching.wait_until_said(WATCHED)
            called_off = batch.run("--cancel", status=1)
            watching.wait(timeout=60)
        n_stored = len(batch.predictions())

    assert "The workers go on" in left
    assert "canceled" in called_off
    assert "canceled" in watching.said
    assert 0 < n_stored < _MANY


@pytest.fixture(scope="module")
def eager_backend(
    label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """A backend that sees to new tasks by itself, and has little time for requests."""
    with running_backend(
        cache_dir=tmp_path_factory.mktemp("eager"),
        log_path=ARTIFACTS_DIR / "backend-eager.log",
        label_studio_url=label_studio.url,
        token=label_studio.legacy_token,
        environment={
            "PREANNOTATE_NEW_TASKS": "on",
            "PREDICT_BUDGET_S": "0.5",
            "WEBHOOK_SECRET": _SECRET,
        },
    ) as process:
        yield process


def test_imported_and_synchronized_tasks_are_predicted_without_being_asked(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    eager_backend: Backend,
    tmp_path: Path,
) -> None:
    batch = new_batch(api, label_studio, 0, cache_dir=tmp_path)
    # Label Studio builds the address of its webhook from this one.
    api.connect_backend(batch.project_id, f"{eager_backend.url}/{_SECRET}")
    folder = label_studio.local_files_dir / f"new {tmp_path.name}"
    folder.mkdir()
    scene = Path(__file__).parents[2] / "docs" / "scene.png"
    shutil.copy(scene, folder / "scene.png")

    api.import_many(batch.project_id, [{"image": picture(n)} for n in range(5)])
    batch.wait_until_stored(5)
    api.import_from_storage("localfiles", batch.project_id, path=str(folder))
    batch.wait_until_stored(6)

    batch.assert_each_once()


def test_what_a_request_has_no_time_for_is_ready_for_the_next(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    eager_backend: Backend,
    tmp_path: Path,
) -> None:
    # Pictures that no other test has had this backend cache.
    batch = new_batch(api, label_studio, 60, cache_dir=tmp_path)
    before = eager_backend.metric("diffsegmenter_images_segmented_total")
    api.connect_backend(batch.project_id, eager_backend.url)

    api.retrieve_predictions(batch.project_id)
    n_first = len(batch.predictions())
    wait_until(lambda: _segmented(eager_backend) - before == 60)
    api.retrieve_predictions(batch.project_id)

    assert n_first < 60
    batch.assert_each_once()
    assert _segmented(eager_backend) - before == 60


def _segmented(backend: Backend) -> float:
    count: Any = backend.metric("diffsegmenter_images_segmented_total")
    return float(count)
