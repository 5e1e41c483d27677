"""Whole requests against a segmenter of colours, with the real image fetcher.

Pictures come as data: URIs or from a real server on this machine.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface.interface import LabelInterface
from numpy.typing import NDArray
from PIL import Image

from backend.cache import Cache, open_cache
from backend.errors import BadLabelConfig
from backend.images import ImageFetcher
from backend.predict import Answer, PreAnnotator
from backend.redis_cache import RedisCache
from backend.score_codec import encode_score_maps
from backend.tasks import parse_predict
from backend.values import FetchedImage, LabelStudioAccess
from segmenter import BadImage, ScoreMaps, WeightsNotFound
from tests.clock import Clock
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    Pixels,
    brush_config,
    data_uri,
    encoded,
    make_annotator,
    picture,
    striped,
)
from tests.redis_server import running_redis
from tests.web_server import WebServer, running_web_server

NOWHERE = LabelStudioAccess(url=None)
PICTURE = picture("red", "blue", "white")


@pytest.fixture
def segmenter() -> ColourSegmenter:
    return ColourSegmenter()


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def annotator(segmenter: ColourSegmenter, cache: MemoryCache) -> PreAnnotator:
    return make_annotator(segmenter, cache=cache)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def fetcher(server: WebServer) -> Iterator[ImageFetcher]:
    """A fetcher that may read from `server`."""
    fetcher = ImageFetcher(
        timeout_s=5, max_bytes=200_000, image_hosts=[f"127.0.0.1:{server.port}"]
    )
    yield fetcher
    fetcher.close()


def ask(
    annotator: PreAnnotator,
    *addresses: Any,
    config: str = RED_AND_BLUE,
    access: LabelStudioAccess = NOWHERE,
    **fields: Any,
) -> list[Answer]:
    """Predict one task per address, ids from 1."""
    tasks = [
        {"id": number, "data": {"image": address}}
        for number, address in enumerate(addresses, start=1)
    ]
    body = {"tasks": tasks, "label_config": config, **fields}
    return annotator.predict(parse_predict(body), access)


def ask_one(annotator: PreAnnotator, address: str, config: str) -> list[dict[str, Any]]:
    """The regions of one task."""
    (answer,) = ask(annotator, address, config=config)
    assert isinstance(answer, dict), "the task failed"
    regions: list[dict[str, Any]] = answer["result"]
    return regions


def mask_of(region: dict[str, Any]) -> NDArray[np.bool_]:
    """What Label Studio's own decoder makes of a region."""
    size_yx = region["original_height"], region["original_width"]
    alpha = brush.decode_rle(region["value"]["rle"]).reshape(*size_yx, 4)[:, :, 3]
    assert set(np.unique(alpha)) <= {0, 255}
    return np.asarray(alpha == 255)


def names_of(regions: list[dict[str, Any]]) -> list[str]:
    return [name for region in regions for name in region["value"]["brushlabels"]]


def outcomes(annotator: PreAnnotator) -> dict[str, float]:
    """The task counter, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for metric in annotator.metrics.tasks.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def test_predict_paints_every_label_where_it_is(annotator: PreAnnotator) -> None:
    regions = ask_one(annotator, PICTURE, RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    expected = np.zeros((2, 4, 6), bool)
    expected[0, :, :2] = expected[1, :, 2:4] = True
    np.testing.assert_array_equal([mask_of(region) for region in regions], expected)


def test_predict_answers_what_label_studio_takes(annotator: PreAnnotator) -> None:
    answers = ask(annotator, PICTURE, picture("red", "white"), picture("white"))

    interface = LabelInterface(RED_AND_BLUE)
    for answer in answers:
        assert isinstance(answer, dict)
        assert interface.validate_prediction(answer, return_errors=True) == []
        assert answer["model_version"] == MODEL_VERSION
        assert 0 <= answer["score"] <= 1
        assert all(0 <= region["score"] <= 1 for region in answer["result"])
    json.dumps(answers, allow_nan=False)


@pytest.mark.parametrize(
    ("data", "size_yx"),
    [
        pytest.param(encoded(striped("red", "blue")), (4, 6), id="png"),
        pytest.param(
            encoded(striped("red", "blue", size_yx=(16, 48)), "JPEG", quality=95),
            (16, 48),
            id="jpeg",
        ),
        pytest.param(encoded(striped("red", "blue"), "GIF"), (4, 6), id="gif"),
        pytest.param(
            encoded(striped("red", "blue"), "WEBP", lossless=True), (4, 6), id="webp"
        ),
        pytest.param(
            encoded(striped("red", "blue", size_yx=(1, 700))), (1, 700), id="one-row"
        ),
    ],
)
def test_predict_paints_at_the_size_of_the_image(
    data: bytes, size_yx: tuple[int, int], annotator: PreAnnotator
) -> None:
    regions = ask_one(annotator, data_uri(data), RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    assert {mask_of(region).shape for region in regions} == {size_yx}
    assert {region["image_rotation"] for region in regions} == {0}


def test_predict_paints_on_the_upright_image(annotator: PreAnnotator) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter: the left stripe comes to the top
    stored = encoded(striped("red", "blue", size_yx=(4, 6)), exif=exif)

    regions = ask_one(annotator, data_uri(stored), RED_AND_BLUE)

    expected = np.zeros((2, 6, 4), bool)
    expected[0, :3] = expected[1, 3:] = True
    np.testing.assert_array_equal([mask_of(region) for region in regions], expected)


def test_predict_paints_a_picture_of_one_pixel(annotator: PreAnnotator) -> None:
    (region,) = ask_one(annotator, picture("red", size_yx=(1, 1)), RED_AND_BLUE)

    assert names_of([region]) == ["red"]
    assert mask_of(region).tolist() == [[True]]


def in_mode(mode: str) -> Image.Image:
    return Image.fromarray(striped("red", "blue", size_yx=(8, 16))).convert(mode)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(in_mode("P")), id="palette"),
        pytest.param(encoded(in_mode("RGBA")), id="transparency"),
        pytest.param(encoded(in_mode("CMYK"), "TIFF"), id="cmyk"),
        pytest.param(encoded(in_mode("CMYK"), "JPEG", quality=95), id="cmyk-jpeg"),
        pytest.param(
            encoded(
                in_mode("RGB"),
                "GIF",
                save_all=True,
                append_images=[in_mode("L"), in_mode("1")],
            ),
            id="animated-gif-by-its-first-frame",
        ),
    ],
)
def test_predict_reads_a_picture_of_another_kind(
    data: bytes, annotator: PreAnnotator
) -> None:
    regions = ask_one(annotator, data_uri(data), RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    assert {mask_of(region).shape for region in regions} == {(8, 16)}


def test_predict_reads_16_bit_grey(annotator: PreAnnotator) -> None:
    deep = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)

    (answer,) = ask(annotator, data_uri(encoded(Image.fromarray(deep))))

    assert isinstance(answer, dict)


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
    fetcher: ImageFetcher,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.serve("/locked.png", status=401)
    server.serve("/broken.png", status=500)
    server.serve("/login.html", b"<!doctype html><title>Log in</title>")
    server.serve("/large.png", b"0" * 300_000)
    annotator = make_annotator(segmenter, fetcher=fetcher)
    if isinstance(address, str):
        address = address.replace("{}", server.url)

    first, failed, last = ask(annotator, PICTURE, address, picture("blue", "red"))

    assert failed == []
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert names_of(first["result"]) == names_of(last["result"]) == ["red", "blue"]
    assert outcomes(annotator) == {"predicted": 2, "failed": 1}
    (line,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.getMessage().startswith("Task 2 is left unpredicted: ")
    assert told in line.getMessage()
    assert line.exc_info is None


@pytest.mark.parametrize("element", [None, "a.png", [], 3, {"id": 2}, {"data": []}])
def test_predict_answers_an_element_that_is_no_task_with_an_empty_list(
    element: Any, annotator: PreAnnotator
) -> None:
    task = {"id": 1, "data": {"image": PICTURE}}
    body = {"tasks": [task, element, task], "label_config": RED_AND_BLUE}

    first, failed, last = annotator.predict(parse_predict(body), NOWHERE)

    assert failed == []
    assert first == last != []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(RuntimeError("CUDA out of memory"), id="out-of-gpu-memory"),
        pytest.param(MemoryError(), id="out-of-memory"),
        pytest.param(BadImage("too strange"), id="refusal"),
        pytest.param(ValueError("in a library"), id="library"),
    ],
)
def test_predict_fails_the_task_that_the_segmenter_fails_on_alone(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_black(pixels: Pixels) -> None:
        if pixels.max() == 0:
            raise fault

    annotator = make_annotator(ColourSegmenter(refuse_black))

    answers = ask(annotator, PICTURE, picture("black"), picture("blue", "red"))

    assert [bool(answer) for answer in answers] == [True, False, True]
    assert answers[1] == []
    assert outcomes(annotator) == {"predicted": 2, "failed": 1}
    assert "Task 2 is left unpredicted" in caplog.text
    assert type(fault).__name__ in caplog.text


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
    annotator = make_annotator(_NotANumberOnBlack(), cache=cache)

    answers = ask(annotator, PICTURE, picture("black"), picture("blue", "red"))

    assert [bool(answer) for answer in answers] == [True, False, True]
    assert len(cache.values) == 2


class _BrokenFetcher:
    """A bug in reading the second task's image."""

    def fetch(
        self, address: str, *, access: LabelStudioAccess, task_id: int | None = None
    ) -> FetchedImage:
        if task_id == 2:
            raise KeyError("a bug")
        return FetchedImage(pixels=striped("red", "blue"), digest=str(task_id))


def test_predict_fails_the_task_that_a_bug_strikes_alone(
    segmenter: ColourSegmenter, caplog: pytest.LogCaptureFixture
) -> None:
    annotator = make_annotator(segmenter, fetcher=_BrokenFetcher())

    answers = ask(annotator, "a", "b", "c")

    assert [bool(answer) for answer in answers] == [True, False, True]
    (line,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert line.exc_info is not None


def test_predict_keeps_order_and_count_over_many_tasks(
    annotator: PreAnnotator,
) -> None:
    pictures = {"red": picture("red", "white"), "blue": picture("white", "blue")}
    wanted = ["red", "blue", None, "blue", "red"] * 5

    answers = ask(annotator, *(pictures.get(colour or "") for colour in wanted))

    found = [
        names_of(answer["result"])[0] if isinstance(answer, dict) else None
        for answer in answers
    ]
    assert found == wanted


def test_predict_answers_the_editor_with_an_empty_prediction_on_failure(
    annotator: PreAnnotator,
) -> None:
    params = {"context": {"result": [{"type": "keypointlabels"}]}}

    (answer,) = ask(annotator, "/nowhere.png", params=params)

    assert answer == {"model_version": MODEL_VERSION, "score": 0, "result": []}


def test_predict_answers_the_editor_with_masks(annotator: PreAnnotator) -> None:
    (answer,) = ask(annotator, PICTURE, params={"context": {"result": []}})

    assert isinstance(answer, dict)
    assert names_of(answer["result"]) == ["red", "blue"]


TWO_CONTROLS = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="one" toName="image">'
    '<Label value="red"/><Label value="blue"/></BrushLabels>'
    '<BrushLabels name="two" toName="image">'
    '<Label value="blue"/><Label value="Rot" alias="r" model_prompt="red"/>'
    "</BrushLabels></View>"
)


def test_predict_segments_once_for_two_controls_on_one_image(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    regions = ask_one(annotator, PICTURE, TWO_CONTROLS)

    assert segmenter.asked == [("red", "blue")]
    assert [(region["from_name"], *names_of([region])) for region in regions] == [
        ("one", "red"),
        ("one", "blue"),
        ("two", "blue"),
        ("two", "r"),
    ]
    np.testing.assert_array_equal(mask_of(regions[0]), mask_of(regions[3]))
    np.testing.assert_array_equal(mask_of(regions[1]), mask_of(regions[2]))
    (answer,) = ask(annotator, PICTURE, config=TWO_CONTROLS)
    interface = LabelInterface(TWO_CONTROLS)
    assert interface.validate_prediction(answer, return_errors=True) == []


TWO_IMAGES = (
    '<View><Image name="left" value="$a"/><Image name="right" value="$b"/>'
    '<BrushLabels name="x" toName="left"><Label value="red"/></BrushLabels>'
    '<BrushLabels name="y" toName="right"><Label value="red"/><Label value="blue"/>'
    "</BrushLabels></View>"
)


def ask_two_images(annotator: PreAnnotator, *tasks: dict[str, Any]) -> list[Answer]:
    body = {
        "tasks": [{"id": n, "data": data} for n, data in enumerate(tasks)],
        "label_config": TWO_IMAGES,
    }
    return annotator.predict(parse_predict(body), NOWHERE)


def test_predict_paints_two_images_of_a_task_each_at_its_size(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    left = picture("red", "white", size_yx=(2, 8))
    right = picture("white", "blue", size_yx=(5, 4))

    (answer,) = ask_two_images(annotator, {"a": left, "b": right})

    assert isinstance(answer, dict)
    assert [(r["to_name"], mask_of(r).shape) for r in answer["result"]] == [
        ("left", (2, 8)),
        ("right", (5, 4)),
    ]
    assert sorted(segmenter.asked) == [("red",), ("red", "blue")]
    interface = LabelInterface(TWO_IMAGES)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_fails_a_task_when_one_of_its_images_fails(
    annotator: PreAnnotator,
) -> None:
    good, bad = picture("red", "blue"), data_uri(b"not an image")

    answers = ask_two_images(
        annotator, {"a": good, "b": good}, {"a": good, "b": bad}, {"a": good, "b": good}
    )

    assert [bool(answer) for answer in answers] == [True, False, True]


def test_predict_paints_on_the_images_that_a_task_has(
    annotator: PreAnnotator,
) -> None:
    good = picture("red", "blue")

    (answer,) = ask_two_images(annotator, {"a": None, "b": good})

    assert isinstance(answer, dict)
    assert {region["to_name"] for region in answer["result"]} == {"right"}


def test_predict_answers_by_alias_and_prompts_by_value(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    config = brush_config('<Label value="red" alias="r"/>')

    regions = ask_one(annotator, PICTURE, config)

    assert segmenter.asked == [("red",)]
    assert names_of(regions) == ["r"]


def test_predict_prompts_by_model_prompt(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    config = brush_config('<Label value="Ketchup" model_prompt="red"/>')

    regions = ask_one(annotator, PICTURE, config)

    assert segmenter.asked == [("red",)]
    assert names_of(regions) == ["Ketchup"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\N{CAT FACE}", id="emoji"),
        pytest.param("斑马", id="chinese"),
        pytest.param("x" * 300, id="300-characters"),
    ],
)
def test_predict_answers_with_a_name_as_it_is(
    name: str, annotator: PreAnnotator
) -> None:
    config = brush_config(f'<Label value="{name}" model_prompt="red"/>')

    (answer,) = ask(annotator, PICTURE, config=config)

    assert isinstance(answer, dict)
    assert names_of(answer["result"]) == [name]
    interface = LabelInterface(config)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_segments_300_labels_in_one_call(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    others = "".join(f'<Label value="label {n}"/>' for n in range(299))

    regions = ask_one(annotator, PICTURE, brush_config(others + '<Label value="red"/>'))

    assert [len(labels) for labels in segmenter.asked] == [300]
    assert names_of(regions) == ["red"]


# A row of reds and their scores: 1, 0.8, 0.6, 0.4, 0.2, 0.
FADING = np.zeros((1, 6, 3), np.uint8)
FADING[0, :, 0] = [255, 204, 153, 102, 51, 0]


@pytest.mark.parametrize(
    ("label_threshold", "control_threshold", "painted"),
    [
        pytest.param(None, None, 3, id="of-the-settings"),
        pytest.param(None, "0.7", 2, id="of-the-control"),
        pytest.param("0.3", None, 4, id="of-the-label"),
        pytest.param("0.1", "0.9", 5, id="of-the-label-before-the-control"),
    ],
)
def test_predict_cuts_at_the_nearest_threshold(
    label_threshold: str | None,
    control_threshold: str | None,
    painted: int,
    annotator: PreAnnotator,
) -> None:
    def attribute(value: str | None) -> str:
        return f'model_score_threshold="{value}"' if value else ""

    config = brush_config(
        f'<Label value="red" {attribute(label_threshold)}/>',
        control=attribute(control_threshold),
    )

    (region,) = ask_one(annotator, data_uri(encoded(FADING)), config)

    assert mask_of(region).tolist() == [[column < painted for column in range(6)]]


def test_predict_refuses_a_bad_threshold_before_it_loads_or_reads_anything() -> None:
    def load() -> ColourSegmenter:
        raise AssertionError("nothing is to be segmented")

    annotator = make_annotator(ColourSegmenter(), segmenter=load)
    config = brush_config('<Label value="red" model_score_threshold="2"/>')

    with pytest.raises(BadLabelConfig, match="model_score_threshold='2'"):
        ask(annotator, PICTURE, config=config)


def test_predict_passes_on_that_there_is_no_model() -> None:
    def load() -> ColourSegmenter:
        raise WeightsNotFound("sd", "the hub is down")

    annotator = make_annotator(ColourSegmenter(), segmenter=load)

    with pytest.raises(WeightsNotFound, match="the hub is down"):
        ask(annotator, PICTURE)


def test_predict_leaves_out_a_label_that_is_not_present() -> None:
    annotator = make_annotator(ColourSegmenter(presence={"red": 0.9}))

    regions = ask_one(annotator, PICTURE, RED_AND_BLUE)

    assert names_of(regions) == ["blue"]


def test_predict_says_how_near_it_came_when_nothing_is_found(
    annotator: PreAnnotator, caplog: pytest.LogCaptureFixture
) -> None:
    config = brush_config(
        '<Label value="cat" predicted_values="kitten,puss"/><Label value="dog"/>'
    )

    with caplog.at_level(logging.INFO):
        (empty,) = ask(annotator, PICTURE, config=config)

    assert empty == {"model_version": MODEL_VERSION, "score": 0, "result": []}
    (line,) = [r.getMessage() for r in caplog.records if "nothing found" in r.msg]
    assert line == (
        "Task 1: nothing found for tag. Asked for 'cat' as 'kitten', 'puss', 'dog'. "
        "Best was 'cat' with 0.00, presence 1.00; the threshold is 0.50, the smallest "
        "area 0.0000 of the image."
    )


def test_predict_names_regions_uniquely_and_the_same_on_a_repeat(
    segmenter: ColourSegmenter,
) -> None:
    first = ask(make_annotator(segmenter), PICTURE, PICTURE, config=TWO_CONTROLS)
    again = ask(make_annotator(segmenter), PICTURE, PICTURE, config=TWO_CONTROLS)

    assert first == again
    for answer in first:
        assert isinstance(answer, dict)
        ids = [region["id"] for region in answer["result"]]
        assert len(set(ids)) == len(ids) == 4


def test_predict_answers_a_repeat_from_the_cache_byte_for_byte(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    address = data_uri(encoded(FADING))

    first = json.dumps(ask(annotator, address, PICTURE))
    again = json.dumps(ask(annotator, address, PICTURE))

    assert again == first
    assert segmenter.calls == 2
    assert annotator.scorer.cache.stats.hits == 2


@pytest.fixture(params=["redis", "embedded"])
def real_cache(request: pytest.FixtureRequest, tmp_path) -> Iterator[Cache]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    cache = open_cache(url, tmp_path, ttl_s=60)
    yield cache
    cache.close()


def test_predict_answers_the_same_from_a_store_after_a_restart(
    real_cache: Cache, segmenter: ColourSegmenter
) -> None:
    first = ask(make_annotator(segmenter, cache=real_cache), PICTURE, "/nowhere.png")
    after_restart = ColourSegmenter()

    again = ask(
        make_annotator(after_restart, cache=real_cache), PICTURE, "/nowhere.png"
    )

    assert again == first
    assert (segmenter.calls, after_restart.calls) == (1, 0)
    assert real_cache.stats.faults == 0


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            brush_config(
                '<Label value="red"/><Label value="blue"/>',
                control='model_score_threshold="0.9"',
            ),
            id="threshold",
        ),
        pytest.param(
            RED_AND_BLUE.replace("tag", "brush").replace("red", 'red" alias="r'),
            id="names",
        ),
    ],
)
def test_predict_cuts_anew_without_the_segmenter(
    config: str, annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    address = data_uri(encoded(FADING))
    first = ask(annotator, address)

    again = ask(annotator, address, config=config)

    assert again != [[]]
    assert again != first
    assert segmenter.calls == 1


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param('<Label value="blue"/><Label value="red"/>', id="order"),
        pytest.param('<Label value="red"/>', id="fewer"),
        pytest.param(
            '<Label value="red"/><Label value="blue" model_prompt="green"/>',
            id="prompt",
        ),
    ],
)
def test_predict_segments_anew_for_other_prompts(
    labels: str, annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    ask(annotator, PICTURE)

    ask(annotator, PICTURE, config=brush_config(labels))

    assert segmenter.calls == 2


def test_predict_segments_anew_for_other_weights(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    ask(make_annotator(segmenter, cache=cache), PICTURE)

    ask(make_annotator(segmenter, cache=cache, maps_fingerprint="new"), PICTURE)

    assert segmenter.calls == 2


def scores_of(n_labels: int, size_yx: tuple[int, int]) -> bytes:
    return encode_score_maps(
        np.eye(4, dtype=np.float16)[None].repeat(n_labels, axis=0),
        np.ones(n_labels, np.float32),
        [f"label {n}" for n in range(n_labels)],
        size_yx,
    )


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80\x04N.", id="a-pickle"),
        pytest.param(scores_of(2, (4, 6))[:-1], id="cut-off"),
        pytest.param(scores_of(3, (4, 6)), id="another-number-of-labels"),
        pytest.param(scores_of(2, (5, 6)), id="another-size"),
        pytest.param(scores_of(2, (1 << 20, 1 << 20)), id="a-size-beyond-memory"),
    ],
)
def test_predict_takes_garbage_in_the_cache_for_a_miss(
    garbage: bytes,
    annotator: PreAnnotator,
    cache: MemoryCache,
    segmenter: ColourSegmenter,
) -> None:
    expected = ask(annotator, PICTURE)
    (key,) = cache.values
    cache.values[key] = garbage

    answers = ask(annotator, PICTURE)

    assert answers == expected
    assert segmenter.calls == 2
    assert cache.values[key] != garbage


def test_predict_goes_on_when_redis_dies_in_the_middle() -> None:
    with running_redis() as redis:
        segmenter = ColourSegmenter(lambda pixels: redis.stop())
        cache = RedisCache(redis.url, ttl_s=60)
        annotator = make_annotator(segmenter, cache=cache)
        addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(11)]

        answers = ask(annotator, *addresses)

        cache.close()
    assert len(answers) == 11
    assert all(isinstance(answer, dict) for answer in answers)
    assert cache.stats.faults > 0
    assert segmenter.calls == 11


def test_predict_segments_the_same_image_once_in_a_request(
    annotator: PreAnnotator, segmenter: ColourSegmenter
) -> None:
    answers = ask(annotator, *[PICTURE] * 12)

    assert segmenter.calls == 1
    masks = [answer["result"][0]["value"] for answer in answers if answer]
    assert masks == [masks[0]] * 12


def taking(seconds: float, clock: Clock) -> Callable[[Pixels], None]:
    def spend(pixels: Pixels) -> None:
        clock.now += seconds

    return spend


def test_predict_leaves_the_tasks_that_the_budget_does_not_reach(
    clock: Clock, cache: MemoryCache, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = ColourSegmenter(taking(30, clock))
    annotator = make_annotator(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(20)]

    answers = ask(annotator, *addresses)

    assert sorted(map(bool, answers)) == [False] * 17 + [True] * 3
    assert [answer for answer in answers if not answer] == [[]] * 17
    assert outcomes(annotator) == {"predicted": 3, "out_of_time": 17}
    assert len(cache.values) == segmenter.calls == 3
    assert "17 of 20 tasks were not reached within 80 s" in caplog.text


def test_predict_goes_on_where_the_budget_ended(
    clock: Clock, cache: MemoryCache
) -> None:
    segmenter = ColourSegmenter(taking(30, clock))
    annotator = make_annotator(segmenter, cache=cache, clock=clock, budget_s=80)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(5)]
    ask(annotator, *addresses)

    answers = ask(annotator, *addresses)

    assert all(answers)
    assert segmenter.calls == 5


def test_predict_counts_the_loading_of_the_model_into_the_budget(clock: Clock) -> None:
    segmenter = ColourSegmenter()

    def load() -> ColourSegmenter:
        clock.now += 90
        return segmenter

    annotator = make_annotator(segmenter, segmenter=load, clock=clock, budget_s=80)

    assert ask(annotator, PICTURE) == [[]]
    assert segmenter.calls == 0


def test_predict_answers_what_is_cached_after_the_budget(clock: Clock) -> None:
    segmenter = ColourSegmenter(taking(100, clock))
    annotator = make_annotator(segmenter, clock=clock, budget_s=80)
    late = picture("blue", "red")
    ask(annotator, PICTURE)

    answers = ask(annotator, late, PICTURE)

    assert all(answers)
    assert segmenter.calls == 2


def test_predict_reads_uploads_with_the_token_of_label_studio(
    server: WebServer, segmenter: ColourSegmenter, fetcher: ImageFetcher
) -> None:
    server.serve("/data/upload/1/a.png", encoded(striped("red", "blue")))
    annotator = make_annotator(segmenter, fetcher=fetcher)
    access = LabelStudioAccess(url=server.url, token="legacy", from_environment=True)

    (answer,) = ask(annotator, "/data/upload/1/a.png", access=access)

    assert isinstance(answer, dict)
    assert server.seen[0].headers["authorization"] == "Token legacy"


def test_predict_reads_cloud_storage_through_label_studio(
    server: WebServer, segmenter: ColourSegmenter, fetcher: ImageFetcher
) -> None:
    server.serve("/tasks/1/presign/", encoded(striped("red", "blue")))
    annotator = make_annotator(segmenter, fetcher=fetcher)
    access = LabelStudioAccess(url=server.url, token="legacy", from_environment=True)

    (answer,) = ask(annotator, "s3://bucket/a.png", access=access)

    assert isinstance(answer, dict)


def test_predict_never_logs_what_an_address_holds(
    annotator: PreAnnotator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(
            annotator,
            PICTURE,
            "ftp://user:s3cret@host/a.png?token=s3cret",
            data_uri(b"s3cret" * 100),
        )

    assert "s3cret" not in caplog.text
    assert data_uri(b"s3cret" * 100)[30:60] not in caplog.text
