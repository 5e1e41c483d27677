"""Webhooks of a real backend with the pocket model, over HTTP, killed in between."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from backend.feedback import Correction, FeedbackStore, open_feedback_store
from segmenter import Example
from segmenter.pocket.scenes import Scene, render_scene
from tests.backend.feedback.annotations import annotation, deleted, payload, region
from tests.e2e.backend_process import ServedBackend, running_backend
from tests.e2e.processes import running
from tests.fakes import brush_config, data_uri, encoded
from tests.label_studio_stand_in import TOKEN, running_stand_in
from tests.redis_server import RedisServer, running_redis

_PATIENCE_S = 90.0
CONFIG = brush_config(
    '<Label value="cat"/><Label value="dog"/><Label value="zork" model_prompt=""/>'
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(700_123, size_yx=(384, 512))


@pytest.fixture(params=["redis", "sqlite"])
def urls(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A Redis, and none."""
    if request.param == "sqlite":
        yield None
        return
    with running_redis() as server:
        yield server.url


def serve(redis_url: str | None, folder: Path, name: str) -> Any:
    return running_backend(
        cache_dir=folder / "cache",
        log_path=folder / f"{name}.log",
        redis_url=redis_url,
        environment={"THREADS": "2"},
    )


def opened(redis_url: str | None, folder: Path) -> FeedbackStore:
    return open_feedback_store(redis_url, folder / "cache")


def sent(scene: Scene, number: int = 31, **changes: Any) -> dict[str, Any]:
    """What is submitted of a picture with four drawn regions."""
    rows, columns = scene.image.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    regions = [
        region(
            np.hypot(y - 60 * n, x - 90 * n) < 40 + 9 * np.sin(np.arctan2(y, x) * 40),
            "zork" if n % 2 else "cat",
            region_id=f"r{n}",
        )
        for n in range(1, 5)
    ]
    return payload(
        annotation(regions, annotation_id=number, **changes),
        config=CONFIG,
        data={"image": data_uri(encoded(scene.image))},
        task_id=number,
    )


def wait_for(store: FeedbackStore, *annotations: int) -> list[Correction]:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        found = store.corrections("7")
        is_whole = not any(one.is_pending for one in found)
        if is_whole and [one.annotation for one in found] == list(annotations):
            return found
        time.sleep(0.1)
    raise AssertionError(f"after {_PATIENCE_S} s there are {found}")


def post(backend: ServedBackend, body: Any, client: httpx.Client) -> None:
    answer = client.post(f"{backend.url}/webhook", json=body, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})


def test_webhooks_are_accepted_and_learned_from_behind(
    urls: str | None, scene: Scene, tmp_path: Path
) -> None:
    with (
        serve(urls, tmp_path, "serve") as backend,
        contextlib.closing(opened(urls, tmp_path)) as store,
        httpx.Client() as client,
    ):
        for number in (*range(1, 21), *range(1, 21)):
            post(backend, sent(scene, number), client)
        post(backend, deleted(7), client)

        found = wait_for(store, *range(1, 7), *range(8, 21))
        refused = client.post(f"{backend.url}/webhook", content=b"{", timeout=30)
        # What only the standard library's reader takes.
        odd = client.post(
            f"{backend.url}/webhook",
            content=b'{"action": "ANNOTATION_CREATED", "lead_time": NaN}',
            timeout=30,
        )

    example = Example.from_bytes(found[0].examples[0])
    assert example.labels == ("cat", "dog", "zork")
    assert [bool(cover.any()) for cover in example.covers] == [True, False, True]
    assert len({one.examples for one in found}) == 1  # all are the same picture
    assert refused.status_code == 400
    assert (odd.status_code, odd.json()) == (200, {"status": "ignored"})
    assert "it has no project" in backend.log
    assert "Traceback" not in backend.log


def test_an_event_that_was_accepted_outlasts_the_kill_of_the_backend(
    urls: str | None, scene: Scene, tmp_path: Path
) -> None:
    with (
        serve(urls, tmp_path, "killed") as backend,
        httpx.Client() as client,
    ):
        # The model is still loading.
        for number in (1, 2):
            post(backend, sent(scene, number), client)
        backend.kill()
    with contextlib.closing(opened(urls, tmp_path)) as store:
        assert not any(not one.is_pending for one in store.corrections("7"))

        with serve(urls, tmp_path, "again"):
            wait_for(store, 1, 2)


def test_workers_do_it_where_there_are_any(tmp_path: Path) -> None:
    scene = render_scene(700_124, size_yx=(96, 128))
    with (
        running_redis() as redis,
        running_stand_in() as studio,
        contextlib.closing(opened(redis.url, tmp_path)) as store,
        httpx.Client() as client,
    ):
        environment = {
            "MODEL": "pocket",
            "CACHE_DIR": str(tmp_path / "worker-cache"),
            "REDIS_URL": redis.url,
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
        }
        worker_log = tmp_path / "worker.log"
        with (
            running(
                [sys.executable, "-m", "tests.sleeping_worker"],
                environment=environment,
                log_path=worker_log,
                is_ready=lambda: (
                    "Ready for jobs" in worker_log.read_text()
                    and bool(list(redis_keys(redis, "rq:worker:*")))
                ),
                timeout_s=_PATIENCE_S,
            ),
            serve(redis.url, tmp_path, "serve") as backend,
        ):
            for number in range(1, 6):
                post(backend, sent(scene, number), client)
            wait_for(store, 1, 2, 3, 4, 5)

        assert worker_log.read_text().count("regions, 1 examples") == 5
        assert "1 examples" not in backend.log


def redis_keys(redis: RedisServer, pattern: str) -> list[bytes]:
    with redis.client() as client:
        return list(client.scan_iter(pattern))
