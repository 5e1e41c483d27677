"""What a scrape of a whole backend reads, and what its dashboard asks for."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from backend.server import build_app
from backend.server.background import Background
from backend.settings import Settings
from tests.fakes import RED_AND_BLUE, picture
from tests.redis_server import running_redis

_DASHBOARD = Path(__file__).parents[3] / "docker" / "grafana.json"
_PICTURE = picture("red", "blue", size_yx=(24, 32))


def served(tmp_path: Path, **environment: str) -> tuple[FlaskClient, Background]:
    """A backend with the pocket model."""
    settings = Settings.from_env({"CACHE_DIR": str(tmp_path), **environment})
    app = build_app(settings, preload=False)
    behind = Background.of(app)
    assert behind is not None
    return app.test_client(), behind


def predict(client: FlaskClient, task_id: int, address: str) -> Any:
    body = {
        "tasks": [{"id": task_id, "data": {"image": address}}],
        "label_config": RED_AND_BLUE,
    }
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200
    return answer.json["results"]


def scraped(client: FlaskClient) -> dict[tuple[str, ...], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_scrape_tells_stages_passes_and_what_was_found(tmp_path: Path) -> None:
    client, behind = served(tmp_path)
    predict(client, 1, _PICTURE)
    predict(client, 1, _PICTURE)

    values = scraped(client)

    for stage in (
        *("fetch", "decode", "presence", "encode", "backbone", "maps", "painting"),
        "answer",
    ):
        assert values["diffsegmenter_stage_seconds_count", stage] > 0
        assert values["diffsegmenter_stage_seconds_sum", stage] > 0
    assert values["diffsegmenter_pass_images_count",] == 1
    assert values["diffsegmenter_kept_total", "maps", "missing"] == 1
    assert values["diffsegmenter_kept_total", "answers", "found"] == 1
    assert values["diffsegmenter_waiting", "model"] == 0
    assert values["diffsegmenter_waiting", "backlog"] == 0
    behind.finish()


def test_scrape_tells_jobs_that_wait_and_does_without_redis(tmp_path: Path) -> None:
    with running_redis() as server:
        client, behind = served(tmp_path, REDIS_URL=server.url)
        with_redis = scraped(client)
    without = scraped(client)

    assert with_redis["diffsegmenter_waiting", "workers"] == 0
    assert ("diffsegmenter_waiting", "workers") not in without
    assert without["diffsegmenter_waiting", "model"] == 0
    behind.finish()


def test_every_metric_of_the_dashboard_is_there(tmp_path: Path) -> None:
    client, behind = served(tmp_path)
    text = client.get("/metrics").text
    known = {
        family.name: family.type for family in text_string_to_metric_families(text)
    }
    endings = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_sum", "_count"),
        "gauge": ("",),
    }
    names = {name + ending for name, kind in known.items() for ending in endings[kind]}

    panels = json.loads(_DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"\bdiffsegmenter_\w+", target["expr"])
    }

    assert len(asked) >= 12
    assert asked <= names
    behind.finish()


def test_log_has_a_line_a_task_and_nothing_that_is_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client, behind = served(
        tmp_path,
        LABEL_STUDIO_URL="http://127.0.0.1:1",
        LABEL_STUDIO_API_KEY="a-token-of-mine",
    )
    data = _PICTURE.partition(",")[2]
    with caplog.at_level(logging.INFO):
        predict(client, 1, _PICTURE)
        predict(client, 1, _PICTURE)
        predict(client, 2, "https://me:s3cret@127.0.0.1:1/a.png?X-Signature=abc")
        predict(client, 3, "data:image/png;base64,AAAA")

    lines = [record.getMessage() for record in caplog.records]
    outcomes = re.compile(r"Task (\d+)(?:: \d+ regions\.| has no prediction: )")
    found = [match[1] for line in lines if (match := outcomes.match(line))]
    assert found == ["1", "1", "2", "3"]
    text = caplog.text
    for secret in ("a-token-of-mine", "s3cret", "X-Signature=abc", data, data[:60]):
        assert secret not in text
    behind.finish()
