"""A run that is not alone: what changes in the middle of it, and who else begins it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.batches import Batch, finished, new_batch, running_worker
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.processes import ARTIFACTS_DIR
from tests.fakes import brush_config
from tests.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.e2e

_N_TASKS: Final = 40
_OLD: Final = "diffsegmenter-pocket-fast-00000000"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def worker(
    label_studio: LabelStudio,
    redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """One worker that sleeps for a moment over each picture; yields its log."""
    environment = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        "REDIS_URL": redis.url,
        "CACHE_DIR": str(tmp_path_factory.mktemp("worker")),
    }
    log_path = ARTIFACTS_DIR / "worker-changes.log"
    with running_worker(environment, log_path=log_path, sleep_s=0.15):
        yield log_path


@pytest.fixture
def batch(
    api: LabelStudioApi, label_studio: LabelStudio, redis: RedisServer, tmp_path: Path
) -> Batch:
    return new_batch(
        api, label_studio, _N_TASKS, cache_dir=tmp_path, redis_url=redis.url
    )


def test_two_commands_at_once_do_one_run(batch: Batch, worker: Path) -> None:
    commands = [batch.start(), batch.start()]

    said = [finished(command) for command in commands]

    for text in said:
        assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction" in text
    batch.assert_each_once()


def test_a_label_config_changed_in_mid_run_is_listed_again(
    api: LabelStudioApi, batch: Batch, worker: Path
) -> None:
    command = batch.start()
    batch.wait_until_stored(1)
    before = batch.predictions()[0]["model_version"]
    api.set_label_config(batch.project_id, brush_config('<Label value="red"/>'))

    said = finished(command)

    newer = api.model_version(batch.project_id)
    held = [row["task"] for row in batch.predictions() if row["model_version"] == newer]
    assert newer != before
    assert sorted(held) == [task["id"] for task in api.tasks(batch.project_id)]
    assert f"listing again, for {newer}" in said.replace("\n", " ")
    assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction of {newer}" in said
    assert "No prediction for" not in said


def test_tasks_deleted_in_mid_run_are_no_failures(
    api: LabelStudioApi, batch: Batch, worker: Path
) -> None:
    tasks = api.tasks(batch.project_id)
    command = batch.start()
    batch.wait_until_stored(1)
    for task in tasks[-3:]:
        api.delete_task(task["id"])

    said = finished(command)

    left = _N_TASKS - 3
    assert f"{left} of {_N_TASKS} tasks hold a prediction" in said
    assert "; 3 deleted meanwhile" in said
    assert ", 3 deleted meanwhile" in worker.read_text()
    batch.assert_each_once()


def test_a_limit_outlives_a_redis_that_loses_everything(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    with running_redis() as redis:
        batch = new_batch(
            api, label_studio, _N_TASKS, cache_dir=tmp_path, redis_url=redis.url
        )
        log_path = ARTIFACTS_DIR / "worker-limit.log"
        with running_worker(batch.environment, log_path=log_path, sleep_s=0.2):
            command = batch.start("--limit", "20")
            batch.wait_until_stored(3)
            redis.stop()
            time.sleep(1)
            redis.start()
            said = finished(command)

    assert "Redis has lost tasks of this run" in said
    assert "20 of 20 tasks hold a prediction" in said
    assert len(batch.predictions()) == 20


def test_a_count_that_label_studio_got_wrong_is_mended(
    api: LabelStudioApi, label_studio: LabelStudio, batch: Batch, worker: Path
) -> None:
    tasks = api.tasks(batch.project_id)
    for task in tasks[:3]:
        api.store_prediction(task["id"], _OLD)
    finished(batch.start("--replace"))
    # As a bulk that is stored while a prediction is removed leaves it now and then.
    database = label_studio.folder / "label_studio.sqlite3"
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE task SET total_predictions = 2 WHERE id = ?", [tasks[0]["id"]]
        )
    wrong = api.tasks(batch.project_id)[0]["total_predictions"]

    finished(batch.start("--replace"))

    assert wrong == 2
    counts = {task["total_predictions"] for task in api.tasks(batch.project_id)}
    assert counts == {1}
    batch.assert_each_once()
