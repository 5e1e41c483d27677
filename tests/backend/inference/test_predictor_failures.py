"""What costs one task its answer, and what the whole request."""

import json
import logging
import zlib
from typing import Any

import numpy as np
import pytest

from backend.errors import BadLabelConfig
from backend.images import ImageFetcher
from backend.inference.predictor import Predictor
from backend.label_studio import parse_predict
from backend.types import FetchedImage, ImageFile, LabelStudioAccess, Turn
from segmenter import BadImage, ScoreMaps, WeightsNotFound
from tests.asking import NOWHERE, PICTURE, ask, names_of, outcomes
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    Pixels,
    brush_config,
    data_uri,
    encoded,
    make_predictor,
    picture,
    striped,
)
from tests.web_server import WebServer


def png_header(width: int, height: int) -> bytes:
    """A small PNG that claims to be large."""
    size = width.to_bytes(4) + height.to_bytes(4)
    chunk = b"IHDR" + size + b"\x08\x02\x00\x00\x00"
    length = (len(chunk) - 4).to_bytes(4)
    head = b"\x89PNG\r\n\x1a\n" + length + chunk + zlib.crc32(chunk).to_bytes(4)
    return head + encoded(striped("red"))[33:]


JPEG = encoded(striped("red", "blue", size_yx=(64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        pytest.param(None, "no image in '$image'", id="null"),
        pytest.param("", "no image in '$image'", id="empty"),
        pytest.param("  ", "no image in '$image'", id="blank"),
        pytest.param(["a.png", "b.png"], 'valueList="$image"', id="list"),
        pytest.param({"url": "a.png"}, "address of an image", id="object"),
        pytest.param("/data/upload/1/a.png", "LABEL_STUDIO_URL", id="unknown-host"),
        pytest.param("{}/missing.png", "is not there", id="404"),
        pytest.param("{}/locked.png", "status 401", id="401"),
        pytest.param("{}/broken.png", "status 500", id="500"),
        pytest.param("{}/login.html", "web page in place", id="web-page"),
        pytest.param("{}/large.png", "bytes", id="too-many-bytes"),
        pytest.param("http://10.0.0.1/a.png", "IMAGE_HOSTS", id="another-host"),
        pytest.param("file:///etc/passwd", "not an address", id="file"),
        pytest.param("s3://bucket/a.png", "LABEL_STUDIO_URL", id="cloud-storage"),
        pytest.param("data:image/png;base64,!", "data:", id="bad-data-uri"),
        pytest.param(data_uri(b"\0" * 10_000), "not an image", id="10-kB-of-zeros"),
        pytest.param(data_uri(JPEG[:400]), "damaged", id="truncated-jpeg"),
        pytest.param(
            data_uri(png_header(20_000, 20_000)), "too many pixels", id="huge-header"
        ),
        pytest.param("\ud800", "half a character", id="half-a-character"),
    ],
)
def test_predict_fails_the_task_of_a_bad_image_alone(
    address: Any,
    told: str,
    segmenter: ColourSegmenter,
    server: WebServer,
    server_fetcher: ImageFetcher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.serve("/locked.png", status=401)
    server.serve("/broken.png", status=500)
    server.serve("/login.html", b"<!doctype html><title>Log in</title>")
    server.serve("/large.png", b"0" * 300_000)
    predictor = make_predictor(segmenter, fetcher=server_fetcher)
    if isinstance(address, str):
        address = address.replace("{}", server.url)

    first, failed, last = ask(predictor, PICTURE, address, picture("blue", "red"))

    assert failed == []
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert names_of(first["result"]) == names_of(last["result"]) == ["red", "blue"]
    assert outcomes(predictor) == {"predicted": 2, "failed": 1}
    (line,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.getMessage().startswith("Task 2 has no prediction: ")
    assert told in line.getMessage()
    assert line.exc_info is None


@pytest.mark.parametrize("element", [None, "a.png", [], 3, {"id": 2}, {"data": []}])
def test_predict_answers_an_element_that_is_no_task_with_an_empty_list(
    element: Any, predictor: Predictor
) -> None:
    task = {"id": 1, "data": {"image": PICTURE}}
    body = {"tasks": [task, element, task], "label_config": RED_AND_BLUE}

    first, failed, last = predictor.predict(parse_predict(body), NOWHERE)

    assert failed == []
    assert first == last != []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(RuntimeError("CUDA out of memory"), id="out-of-gpu-memory"),
        pytest.param(MemoryError(), id="out-of-memory"),
        pytest.param(BadImage("too strange"), id="refusal"),
        pytest.param(ValueError("in a library"), id="library"),
        pytest.param(TypeError("a bug"), id="bug"),
    ],
)
def test_predict_fails_the_task_that_the_segmenter_fails_on_alone(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_black(pixels: Pixels) -> None:
        if pixels.max() == 0:
            raise fault

    predictor = make_predictor(ColourSegmenter(refuse_black))

    answers = ask(predictor, PICTURE, picture("black"), picture("blue", "red"))

    assert [bool(answer) for answer in answers] == [True, False, True]
    assert answers[1] == []
    assert outcomes(predictor) == {"predicted": 2, "failed": 1}
    told = str(fault) or type(fault).__name__
    assert f"Task 2 has no prediction: {told}" in caplog.text


class _NotANumberOnBlack(ColourSegmenter):
    """What half precision does when it overflows."""

    def _score_one(self, pixels: Pixels, labels: tuple[str, ...]) -> ScoreMaps:
        maps = super()._score_one(pixels, labels)
        if pixels.max() == 0:
            maps.maps[0, 0, 0] = np.nan
        return maps


def test_predict_fails_the_task_whose_scores_are_not_numbers_alone(
    cache: MemoryCache,
) -> None:
    predictor = make_predictor(_NotANumberOnBlack(), cache=cache)

    answers = ask(predictor, PICTURE, picture("black"), picture("blue", "red"))

    assert [bool(answer) for answer in answers] == [True, False, True]
    assert len(cache.values) == 2


class _BrokenFetcher:
    """A bug in reading the second task's image."""

    def read(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn | None = None,
    ) -> ImageFile:
        if task_id == 2:
            raise KeyError("a bug")
        return ImageFile(data=b"", digest=str(task_id), address=address, access=access)

    def decode(self, file: ImageFile, *, turn: Turn | None = None) -> FetchedImage:
        return FetchedImage(pixels=striped("red", "blue"), digest=file.digest)


def test_predict_fails_the_task_that_a_bug_strikes_alone(
    segmenter: ColourSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = make_predictor(segmenter, fetcher=_BrokenFetcher())

    answers = ask(predictor, "a", "b", "c")

    assert [bool(answer) for answer in answers] == [True, False, True]
    (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert line.exc_info is not None
    assert "Task 2 has no prediction: 'a bug'" in caplog.text


def test_predict_fails_the_task_with_a_label_that_no_answer_can_hold_alone(
    predictor: Predictor,
) -> None:
    config = brush_config("", 'value="$names"')
    good = {"image": PICTURE, "names": [{"value": "red"}]}
    bad = {"image": PICTURE, "names": [{"value": "red \ud800"}]}
    body = {"tasks": [{"data": good}, {"data": bad}], "label_config": config}

    answers = predictor.predict(parse_predict(body), NOWHERE)

    assert [bool(answer) for answer in answers] == [True, False]
    json.dumps(answers, ensure_ascii=False).encode()


def test_predict_answers_what_is_too_much_for_the_cache(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = MemoryCache()
    predictor = make_predictor(ColourSegmenter(), cache=cache)
    config = brush_config('<Label value="red"/>')
    # Of a grid with a longer side than the cache takes.
    wide = picture("red", "white", size_yx=(1, 1100))

    (answer,) = ask(predictor, wide, config=config)

    assert isinstance(answer, dict)
    assert names_of(answer["result"]) == ["red"]
    assert cache.values == {}
    assert "Score maps cannot be cached" in caplog.text
    assert "They are computed anew each time." in caplog.text


def test_predict_answers_the_editor_with_an_empty_prediction_on_failure(
    predictor: Predictor,
) -> None:
    params = {"context": {"result": [{"type": "keypointlabels"}]}}

    (answer,) = ask(predictor, "/nowhere.png", params=params)

    assert answer == {"model_version": MODEL_VERSION, "score": 0, "result": []}


def test_predict_refuses_a_bad_threshold_before_it_loads_or_reads_anything() -> None:
    def load(timeout_s: float) -> ColourSegmenter:
        raise AssertionError("nothing is to be segmented")

    predictor = make_predictor(ColourSegmenter(), segmenter=load)
    config = brush_config('<Label value="red" model_score_threshold="2"/>')

    with pytest.raises(BadLabelConfig, match="model_score_threshold='2'"):
        ask(predictor, PICTURE, config=config)


def test_predict_passes_on_that_there_is_no_model() -> None:
    def load(timeout_s: float) -> ColourSegmenter:
        raise WeightsNotFound("sd", "the hub is down")

    predictor = make_predictor(ColourSegmenter(), segmenter=load)

    with pytest.raises(WeightsNotFound, match="the hub is down"):
        ask(predictor, PICTURE)


def test_predict_says_how_near_it_came_when_nothing_is_found(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    config = brush_config(
        '<Label value="cat" predicted_values="kitten,puss"/><Label value="dog"/>'
    )

    with caplog.at_level(logging.INFO):
        (empty,) = ask(predictor, PICTURE, config=config)

    assert empty == {"model_version": MODEL_VERSION, "score": 0, "result": []}
    (line,) = [r.getMessage() for r in caplog.records if "nothing found" in r.msg]
    assert line == (
        "Task 1: nothing found for tag. Asked for 'cat' as 'kitten', 'puss', 'dog'. "
        "Best was 'cat', in the picture with 1.00 (needs 0.50), at its best spot with "
        "0.00 (needs 0.50); the smallest area is 0.0000 of the image."
    )


def test_predict_never_logs_what_an_address_holds(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(
            predictor,
            PICTURE,
            "ftp://user:s3cret@host/a.png?token=s3cret",
            data_uri(b"s3cret" * 100),
        )

    assert "s3cret" not in caplog.text
    assert data_uri(b"s3cret" * 100)[30:60] not in caplog.text
