"""What a second request finds done."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from backend.cache import Cache, encode_score_maps, open_cache
from backend.cache.redis_store import RedisStore
from backend.inference.predictor import Predictor
from tests.asking import FADING, PICTURE, ask
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    brush_config,
    data_uri,
    encoded,
    make_predictor,
    picture,
)
from tests.redis_server import running_redis


def test_predict_answers_a_repeat_from_the_cache_byte_for_byte(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    address = data_uri(encoded(FADING))

    first = json.dumps(ask(predictor, address, PICTURE))
    again = json.dumps(ask(predictor, address, PICTURE))

    assert again == first
    assert segmenter.calls == 2
    assert predictor.scorer.cache.stats.hits == 2


@pytest.fixture(params=["redis", "embedded"])
def real_cache(request: pytest.FixtureRequest, tmp_path) -> Iterator[Cache]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    cache = open_cache(url, tmp_path, ttl_s=60)
    yield cache
    cache.close()


def test_predict_answers_the_same_from_a_store_after_a_restart(
    real_cache: Cache, segmenter: ColourSegmenter
) -> None:
    first = ask(make_predictor(segmenter, cache=real_cache), PICTURE, "/nowhere.png")
    after_restart = ColourSegmenter()

    again = ask(
        make_predictor(after_restart, cache=real_cache), PICTURE, "/nowhere.png"
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
    config: str, predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    address = data_uri(encoded(FADING))
    first = ask(predictor, address)

    again = ask(predictor, address, config=config)

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
    labels: str, predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    ask(predictor, PICTURE)

    ask(predictor, PICTURE, config=brush_config(labels))

    assert segmenter.calls == 2


def test_predict_segments_anew_for_other_weights(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    ask(make_predictor(segmenter, cache=cache), PICTURE)

    ask(make_predictor(segmenter, cache=cache, weights_fingerprint="new"), PICTURE)

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
    predictor: Predictor,
    cache: MemoryCache,
    segmenter: ColourSegmenter,
) -> None:
    expected = ask(predictor, PICTURE)
    (key,) = cache.values
    cache.values[key] = garbage

    answers = ask(predictor, PICTURE)

    assert answers == expected
    assert segmenter.calls == 2
    assert cache.values[key] != garbage


def test_predict_goes_on_when_redis_dies_in_the_middle() -> None:
    with running_redis() as redis:
        segmenter = ColourSegmenter(lambda pixels: redis.stop())
        cache = Cache(RedisStore(redis.url, ttl_s=60))
        predictor = make_predictor(segmenter, cache=cache)
        addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(11)]

        answers = ask(predictor, *addresses)

        cache.close()
    assert len(answers) == 11
    assert all(isinstance(answer, dict) for answer in answers)
    assert cache.stats.faults > 0
    assert segmenter.calls == 11


def test_predict_segments_the_same_image_once_in_a_request(
    predictor: Predictor, segmenter: ColourSegmenter
) -> None:
    answers = ask(predictor, *[PICTURE] * 12)

    assert segmenter.calls == 1
    masks = [answer["result"][0]["value"] for answer in answers if answer]
    assert masks == [masks[0]] * 12
