import json
import time
import zlib

import numpy as np
import pytest

from backend.feedback import answers as module
from backend.feedback.answers import AnswerLog
from backend.label_studio import parse_predict
from tests.backend.feedback.annotations import region
from tests.clock import Clock
from tests.fakes import MemoryCache, picture
from tests.serving import predict_body

MASK = np.eye(4, 6, dtype=bool)


def when_kept(log: AnswerLog, project: str, task_id: int) -> object:
    until = time.monotonic() + 5
    while (found := log.get(project, task_id)) is None and time.monotonic() < until:
        time.sleep(0.005)
    return found


def test_answers_come_back_by_project_and_task() -> None:
    log = AnswerLog(MemoryCache())
    asked = parse_predict(
        predict_body(picture("red"), picture("blue"), project="7.1795346673")
    )
    results = [region(MASK)]

    log.note(asked, [{"result": results, "score": 1}, []])

    assert when_kept(log, "7", 0) == tuple(
        {k: v for k, v in one.items() if k not in {"score", "image_rotation"}}
        for one in results
    )
    assert log.get("7", 1) is None
    assert log.get("8", 0) is None


@pytest.mark.parametrize(
    "change", [{"params": {"context": {"result": []}}}, {"project": None}]
)
def test_what_was_clicked_is_no_prediction(change: dict[str, object]) -> None:
    log = AnswerLog(MemoryCache())
    body = predict_body(picture("red"), project="7.1")
    clicked = parse_predict(
        {**body, "params": {"context": {"result": [{"type": "rectanglelabels"}]}}}
        if "params" in change
        else {**body, **change}
    )

    log.note(clicked, [{"result": [region(MASK)]}])
    log.put("7", 1, [region(MASK)])

    assert when_kept(log, "7", 1) is not None
    time.sleep(0.05)
    assert log.get("7", 0) is None


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    log = AnswerLog(MemoryCache())
    monkeypatch.setattr(module, "_MOST_BYTES", 10)

    log.put("7", 1, [region(MASK)])

    assert log.get("7", 1) is None


@pytest.mark.parametrize(
    "value",
    [
        b"no zlib",
        zlib.compress(b"no json"),
        zlib.compress(b"7"),
        zlib.compress(json.dumps([7]).encode()),
        zlib.compress(b'[{"packed_rle": "%"}]'),
        zlib.compress(b"[" * 100_000),
    ],
)
def test_what_others_wrote_into_the_cache_is_left_out(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = MemoryCache()
    log = AnswerLog(cache)
    log.put("7", 1, [region(MASK)])
    (key,) = cache.values
    cache.values[key] = cache.values[key][:32] + value

    assert log.get("7", 1) is None
    assert "left out" in caplog.text


def test_the_same_answer_is_kept_once_until_its_place_may_have_gone() -> None:
    cache, clock = MemoryCache(), Clock()
    log = AnswerLog(cache, clock)
    asked = parse_predict(predict_body(picture("red"), project="7.1"))
    answer = {"result": [region(MASK)], "score": 1}
    log.note(asked, [answer])
    assert when_kept(log, "7", 0) is not None
    time.sleep(0.05)
    cache.values.clear()

    log.note(asked, [answer])
    time.sleep(0.05)
    assert log.get("7", 0) is None

    log.note(asked, [{"result": [region(~MASK)], "score": 1}])
    assert when_kept(log, "7", 0) is not None
    cache.values.clear()

    clock.now += 601
    log.note(asked, [{"result": [region(~MASK)], "score": 1}])
    assert when_kept(log, "7", 0) is not None
