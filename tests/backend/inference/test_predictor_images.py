"""Which pictures a request paints on, and at what size."""

from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface.interface import LabelInterface
from PIL import Image

from backend.images import ImageFetcher
from backend.inference.predictor import Answer, Predictor
from backend.label_studio import parse_predict
from backend.types import LabelStudioAccess
from tests.asking import NOWHERE, ask, ask_one, mask_of, names_of
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    data_uri,
    encoded,
    make_predictor,
    picture,
    striped,
)
from tests.web_server import WebServer


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
    data: bytes, size_yx: tuple[int, int], predictor: Predictor
) -> None:
    regions = ask_one(predictor, data_uri(data), RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    assert {mask_of(region).shape for region in regions} == {size_yx}
    assert {region["image_rotation"] for region in regions} == {0}


def test_predict_paints_on_the_upright_image(predictor: Predictor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter: the left stripe comes to the top
    stored = encoded(striped("red", "blue", size_yx=(4, 6)), exif=exif)

    regions = ask_one(predictor, data_uri(stored), RED_AND_BLUE)

    expected = np.zeros((2, 6, 4), bool)
    expected[0, :3] = expected[1, 3:] = True
    np.testing.assert_array_equal([mask_of(region) for region in regions], expected)


def test_predict_paints_a_picture_of_one_pixel(predictor: Predictor) -> None:
    (region,) = ask_one(predictor, picture("red", size_yx=(1, 1)), RED_AND_BLUE)

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
    data: bytes, predictor: Predictor
) -> None:
    regions = ask_one(predictor, data_uri(data), RED_AND_BLUE)

    assert names_of(regions) == ["red", "blue"]
    assert {mask_of(region).shape for region in regions} == {(8, 16)}


def test_predict_reads_16_bit_grey(predictor: Predictor) -> None:
    deep = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)

    (answer,) = ask(predictor, data_uri(encoded(Image.fromarray(deep))))

    assert isinstance(answer, dict)


TWO_IMAGES = (
    '<View><Image name="left" value="$a"/><Image name="right" value="$b"/>'
    '<BrushLabels name="x" toName="left"><Label value="red"/></BrushLabels>'
    '<BrushLabels name="y" toName="right"><Label value="red"/><Label value="blue"/>'
    "</BrushLabels></View>"
)


def ask_two_images(predictor: Predictor, *tasks: dict[str, Any]) -> list[Answer]:
    body = {
        "tasks": [{"id": n, "data": data} for n, data in enumerate(tasks)],
        "label_config": TWO_IMAGES,
    }
    return predictor.predict(parse_predict(body), NOWHERE)


def test_predict_paints_two_images_of_a_task_each_at_its_size(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    left = picture("red", "white", size_yx=(2, 8))
    right = picture("white", "blue", size_yx=(5, 4))

    (answer,) = ask_two_images(predictor, {"a": left, "b": right})

    assert isinstance(answer, dict)
    assert [(r["to_name"], mask_of(r).shape) for r in answer["result"]] == [
        ("left", (2, 8)),
        ("right", (5, 4)),
    ]
    assert sorted(segmenter.asked) == [("red",), ("red", "blue")]
    interface = LabelInterface(TWO_IMAGES)
    assert interface.validate_prediction(answer, return_errors=True) == []


def test_predict_fails_a_task_when_one_of_its_images_fails(
    predictor: Predictor,
) -> None:
    good, bad = picture("red", "blue"), data_uri(b"not an image")

    answers = ask_two_images(
        predictor, {"a": good, "b": good}, {"a": good, "b": bad}, {"a": good, "b": good}
    )

    assert [bool(answer) for answer in answers] == [True, False, True]


def test_predict_paints_on_the_images_that_a_task_has(
    predictor: Predictor,
) -> None:
    good = picture("red", "blue")

    (answer,) = ask_two_images(predictor, {"a": None, "b": good})

    assert isinstance(answer, dict)
    assert {region["to_name"] for region in answer["result"]} == {"right"}


def test_predict_reads_uploads_with_the_token_of_label_studio(
    server: WebServer, segmenter: ColourSegmenter, server_fetcher: ImageFetcher
) -> None:
    server.serve("/data/upload/1/a.png", encoded(striped("red", "blue")))
    predictor = make_predictor(segmenter, fetcher=server_fetcher)
    access = LabelStudioAccess(url=server.url, token="legacy", from_environment=True)

    (answer,) = ask(predictor, "/data/upload/1/a.png", access=access)

    assert isinstance(answer, dict)
    assert server.seen[0].headers["authorization"] == "Token legacy"


def test_predict_reads_cloud_storage_through_label_studio(
    server: WebServer, segmenter: ColourSegmenter, server_fetcher: ImageFetcher
) -> None:
    server.serve("/tasks/1/presign/", encoded(striped("red", "blue")))
    predictor = make_predictor(segmenter, fetcher=server_fetcher)
    access = LabelStudioAccess(url=server.url, token="legacy", from_environment=True)

    (answer,) = ask(predictor, "s3://bucket/a.png", access=access)

    assert isinstance(answer, dict)
