"""Processes are killed in the middle of a run: no task is lost, and none done twice."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.batches import (
    WATCHED,
    Batch,
    finished,
    new_batch,
    running_worker,
    wait_until,
)
from tests.e2e.label_studio import (
    LabelStudio,
    label_studio_process,
    new_label_studio,
)
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.processes import ARTIFACTS_DIR, free_port
from tests.redis_server import running_redis

pytestmark = pytest.mark.e2e

_N_TASKS: Final = 60
_SOME: Final = 10
_AWAY_S: Final = 3.0
_PERSISTENT: Final = ["--appendonly", "yes", "--appendfsync", "always"]


@pytest.fixture
def redis_url() -> Iterator[str]:
    with running_redis() as server:
        yield server.url


def batch_of(
    api: LabelStudioApi, label_studio: LabelStudio, folder: Path, redis_url: str | None
) -> Batch:
    return new_batch(
        api, label_studio, _N_TASKS, cache_dir=folder / "cache", redis_url=redis_url
    )


def log(name: str) -> Path:
    return ARTIFACTS_DIR / f"{name}.log"


def test_a_killed_workers_tasks_are_done_by_the_other(
    api: LabelStudioApi, label_studio: LabelStudio, redis_url: str, tmp_path: Path
) -> None:
    batch = batch_of(api, label_studio, tmp_path, redis_url)

    with ExitStack() as workers:
        victim = workers.enter_context(
            running_worker(batch.environment, log_path=log("worker-killed"))
        )
        workers.enter_context(
            running_worker(batch.environment, log_path=log("worker-left"))
        )
        command = batch.start()
        batch.wait_until_stored(_SOME)
        victim.kill()
        said = finished(command)

    assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction" in said
    batch.assert_each_once()


def test_a_redis_that_loses_everything_costs_a_watched_run_nothing(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    with running_redis() as redis:
        batch = batch_of(api, label_studio, tmp_path, redis.url)
        with running_worker(batch.environment, log_path=log("worker-amnesia")):
            command = batch.start()
            batch.wait_until_stored(_SOME)
            redis.stop()
            time.sleep(_AWAY_S)
            redis.start()
            said = finished(command)

    assert "Redis has lost tasks of this run" in said
    assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction" in said
    batch.assert_each_once()


def test_a_redis_that_comes_back_with_its_data_needs_nobody_to_watch(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    with running_redis(extra_args=_PERSISTENT) as redis:
        batch = batch_of(api, label_studio, tmp_path, redis.url)
        with running_worker(batch.environment, log_path=log("worker-persistent")):
            command = batch.start()
            batch.wait_until_stored(_SOME)
            command.wait_until_said(WATCHED)
            command.send_signal(signal.SIGINT)
            said = finished(command, status=130)
            redis.stop()
            time.sleep(_AWAY_S)
            redis.start()
            batch.wait_until_stored(_N_TASKS)
            watched = finished(batch.start("--watch"))

    assert "The workers go on" in said
    assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction" in watched
    batch.assert_each_once()


def test_a_killed_command_goes_on_where_it_was(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    batch = batch_of(api, label_studio, tmp_path, None)
    command = batch.start()
    batch.wait_until_stored(_SOME)
    command.kill()
    command.communicate()
    n_stored = len(batch.predictions())

    said = finished(batch.start())

    left = _N_TASKS - n_stored
    assert f"{left} of {left} tasks hold a prediction" in said
    batch.assert_each_once()


def test_label_studio_may_go_away_in_the_middle(redis_url: str, tmp_path: Path) -> None:
    own = new_label_studio(folder=tmp_path / "data")
    with (
        ExitStack() as servers,
        api_with_legacy_token(own.url, own.legacy_token) as api,
    ):
        server = servers.enter_context(
            label_studio_process(own, log_path=log("label-studio-killed"))
        )
        batch = batch_of(api, own, tmp_path, redis_url)
        servers.enter_context(
            running_worker(batch.environment, log_path=log("worker-patient"))
        )
        command = batch.start()
        batch.wait_until_stored(_SOME)
        server.kill()
        time.sleep(_AWAY_S)
        servers.enter_context(
            label_studio_process(own, log_path=log("label-studio-again"))
        )
        said = finished(command)

        assert f"{_N_TASKS} of {_N_TASKS} tasks hold a prediction" in said
        batch.assert_each_once()


def test_a_backend_killed_in_mid_request_leaves_nothing_half_done(
    api: LabelStudioApi, label_studio: LabelStudio, redis_url: str, tmp_path: Path
) -> None:
    batch = batch_of(api, label_studio, tmp_path, redis_url)
    port = free_port()

    def serving(name: str) -> AbstractContextManager[ServedBackend]:
        return running_backend(
            cache_dir=tmp_path,
            log_path=log(name),
            label_studio_url=label_studio.url,
            token=label_studio.legacy_token,
            redis_url=redis_url,
            port=port,
        )

    with serving("backend-killed") as victim:
        api.connect_backend(batch.project_id, victim.url)
        # Label Studio waits for the answer within the request that asks for it.
        asking = threading.Thread(
            target=api.retrieve_predictions, args=[batch.project_id]
        )
        asking.start()
        wait_until(lambda: victim.metric("diffsegmenter_images_segmented_total") > 4)
        victim.kill()
        asking.join()
        assert not batch.predictions()

    with serving("backend-again"):
        api.retrieve_predictions(batch.project_id)

    batch.assert_each_once()
