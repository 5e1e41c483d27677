"""What was drawn before is answered as it was, and nothing else is."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.cache import Cache, FinishedStore
from backend.cache.redis_store import RedisStore
from backend.images import ImageFetcher
from backend.inference import Predictor
from backend.label_studio import parse_predict
from backend.types import CutOptions, FetchedImage, ImageFile, LabelStudioAccess
from tests.asking import NOWHERE, PICTURE, ask
from tests.examples import at_most
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    brush_config,
    defaults_of,
    encoded,
    make_predictor,
    picture,
    striped,
)
from tests.redis_server import running_redis
from tests.serving import client_of
from tests.web_server import running_web_server

MEBIBYTE = 1 << 20
OTHER = picture("red", "blue", "black")
PAGES = (
    '<View><Image name="image" valueList="$image"/>'
    '<BrushLabels name="tag" toName="image">'
    '<Label value="red"/><Label value="blue"/></BrushLabels></View>'
)
OF_TASK = brush_config("", 'value="$names"')


class CountingFetcher(ImageFetcher):
    """Counts what it decodes: what is not decoded is not drawn either."""

    def __init__(self) -> None:
        super().__init__(timeout_s=5)
        self.decoded = 0

    def decode(self, file: ImageFile, **how: Any) -> FetchedImage:
        self.decoded += 1
        return super().decode(file, **how)


@pytest.fixture
def fetcher() -> CountingFetcher:
    return CountingFetcher()


def keeping(
    segmenter: ColourSegmenter, cache: Cache, fetcher: ImageFetcher, **parts: Any
) -> Predictor:
    finished = FinishedStore(cache, max_bytes=MEBIBYTE, max_cache_bytes=64 * MEBIBYTE)
    return make_predictor(
        segmenter, cache=cache, fetcher=fetcher, finished=finished, **parts
    )


@pytest.fixture
def predictor(
    segmenter: ColourSegmenter, cache: MemoryCache, fetcher: CountingFetcher
) -> Predictor:
    return keeping(segmenter, cache, fetcher)


def asked_with(
    predictor: Predictor, data: Any, *, task_id: int = 1, config: str = RED_AND_BLUE
) -> Any:
    body = {"tasks": [{"id": task_id, "data": data}], "label_config": config}
    (answer,) = predictor.predict(parse_predict(body), NOWHERE)
    return answer


def test_a_repeat_is_answered_without_decoding_byte_for_byte(
    predictor: Predictor, fetcher: CountingFetcher, segmenter: ColourSegmenter
) -> None:
    plain = make_predictor(segmenter)

    answers = [json.dumps(ask(predictor, PICTURE, OTHER)) for _ in range(3)]

    assert set(answers) == {json.dumps(ask(plain, PICTURE, OTHER))}
    assert fetcher.decoded == 2
    assert predictor.metrics.images_known._value.get() == 4


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"image": OTHER}, id="picture"),
        pytest.param({"task_id": 2}, id="task"),
        pytest.param(
            {"config": RED_AND_BLUE.replace("red", "green")},
            id="label",
        ),
        pytest.param(
            {
                "config": RED_AND_BLUE.replace(
                    '"tag"', '"tag" model_score_threshold="0.7"'
                )
            },
            id="threshold",
        ),
        pytest.param({"config": RED_AND_BLUE.replace("Brush", "Polygon")}, id="shape"),
        pytest.param({"config": RED_AND_BLUE.replace('"tag"', '"draw"')}, id="name"),
        pytest.param({"version": "another"}, id="version"),
        pytest.param({"weights": "others"}, id="weights"),
        pytest.param({"threshold_01": 0.9}, id="option"),
    ],
)
def test_whatever_changes_an_answer_is_drawn_anew(
    change: dict[str, Any],
    segmenter: ColourSegmenter,
    cache: MemoryCache,
    fetcher: CountingFetcher,
) -> None:
    first = keeping(segmenter, cache, fetcher)
    asked_with(first, {"image": PICTURE})
    cut = CutOptions(threshold_01=change.get("threshold_01", 0.5), min_area_01=0)
    version = change.get("version", "diffsegmenter-colours-0")
    how = {
        "version_of": lambda fingerprint: version,
        "weights_fingerprint": change.get("weights", "colours"),
        "defaults": defaults_of(cut),
    }
    config = change.get("config", RED_AND_BLUE)
    task_id = change.get("task_id", 1)
    data = {"image": change.get("image", PICTURE)}

    answer = asked_with(
        keeping(segmenter, cache, fetcher, **how), data, task_id=task_id, config=config
    )

    assert fetcher.decoded == 2
    plain = make_predictor(segmenter, **how)
    assert answer == asked_with(plain, data, task_id=task_id, config=config)


def test_labels_of_a_task_s_own_count_and_its_other_data_do_not(
    predictor: Predictor, fetcher: CountingFetcher
) -> None:
    red = {"image": PICTURE, "names": [{"value": "red"}]}
    first = asked_with(predictor, red, config=OF_TASK)

    same = asked_with(predictor, {**red, "note": "new"}, config=OF_TASK)
    assert (same, fetcher.decoded) == (first, 1)

    blue = {**red, "names": [{"value": "blue"}]}
    other = asked_with(predictor, blue, config=OF_TASK)
    assert (other != first, fetcher.decoded) == (True, 2)


def test_pages_are_known_one_by_one(
    predictor: Predictor, fetcher: CountingFetcher, segmenter: ColourSegmenter
) -> None:
    asked_with(predictor, {"image": [PICTURE, OTHER]}, config=PAGES)
    plain = make_predictor(segmenter)

    for pages in ([PICTURE, picture("blue")], [OTHER, PICTURE], [PICTURE, OTHER]):
        data = {"image": pages}
        assert asked_with(predictor, data, config=PAGES) == asked_with(
            plain, data, config=PAGES
        )

    # The new page, then each on the other's place.
    assert fetcher.decoded == 2 + 1 + 2


def test_an_address_whose_bytes_changed_is_drawn_anew(
    predictor: Predictor, fetcher: CountingFetcher
) -> None:
    with running_web_server() as server:
        access = LabelStudioAccess(url=server.url, from_environment=True)
        found = []
        for colours in (("red", "blue"), ("red", "blue"), ("blue", "red")):
            server.serve("/data/upload/1/a.png", encoded(striped(*colours)))
            found.append(ask(predictor, "/data/upload/1/a.png", access=access))

    assert found[0] == found[1] != found[2]
    assert fetcher.decoded == 2
    assert len(server.seen) == 3


def test_regions_that_others_kept_are_checked_before_they_are_answered(
    segmenter: ColourSegmenter, cache: MemoryCache, fetcher: CountingFetcher
) -> None:
    right = asked_with(keeping(segmenter, cache, fetcher), {"image": PICTURE})
    (name,) = [key for key in cache.values if key.startswith("finished")]
    value = cache.values[name]
    for wrong in (
        {"type": "choices"},
        {"value": {"format": "rle", "rle": [1, 256], "brushlabels": ["red"]}},
        {"value": {"format": "rle", "rle": [1], "brushlabels": ["cat"]}},
        {"from_name": "nobody"},
        {"score": "much"},
        {"score": 7},
        {"id": None},
    ):
        forgery = MemoryCache()
        store = FinishedStore(forgery, max_bytes=0, max_cache_bytes=64 * MEBIBYTE)
        store.put("x", [{**right["result"][0], **wrong}])
        (packed,) = forgery.values.values()
        # Behind the name of what is looked for.
        cache.values[name] = value[:32] + packed[32:]

        again = asked_with(keeping(segmenter, cache, fetcher), {"image": PICTURE})

        assert again == right, wrong
        assert cache.values[name] == value, "put anew"


def test_a_failed_task_is_not_kept(
    predictor: Predictor, segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    def fail(pixels: Any) -> None:
        raise RuntimeError("once")

    segmenter.before = fail
    assert ask(predictor, PICTURE) == [[]]
    segmenter.before = lambda pixels: None

    (answer,) = ask(predictor, PICTURE)

    assert isinstance(answer, dict)
    assert answer["result"]


def test_what_is_typed_is_drawn_each_time_with_ids_of_its_own(
    predictor: Predictor, fetcher: CountingFetcher
) -> None:
    config = RED_AND_BLUE.replace(
        "</View>", '<TextArea name="t" toName="image"/></View>'
    )
    asked_with(predictor, {"image": PICTURE}, config=config)
    typed = {
        "type": "textarea",
        "from_name": "t",
        "to_name": "image",
        "value": {"text": ["red"]},
    }

    ids = []
    for _ in range(2):
        (answer,) = ask(
            predictor, PICTURE, config=config, params={"context": {"result": [typed]}}
        )
        assert isinstance(answer, dict)
        ids.append([region["id"] for region in answer["result"]])

    assert ids[0] != ids[1]
    assert fetcher.decoded == 3


def test_redis_that_dies_in_between_costs_time_and_nothing_else(
    segmenter: ColourSegmenter, fetcher: CountingFetcher
) -> None:
    with running_redis() as server:
        cache = Cache(RedisStore(server.url, ttl_s=60), cooldown_s=0.01)
        predictor = keeping(segmenter, cache, fetcher)
        first = ask(predictor, PICTURE)
        elsewhere = ask(keeping(ColourSegmenter(), cache, fetcher), PICTURE)
        assert (elsewhere, fetcher.decoded, segmenter.calls) == (first, 1, 1)
        server.stop()

        assert ask(predictor, PICTURE) == first
        assert ask(keeping(segmenter, cache, fetcher), PICTURE) == first
        assert fetcher.decoded == 2
        cache.close()


def test_a_label_config_is_read_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = replace(predictor)

    assert predictor.plan(RED_AND_BLUE).config is predictor.plan(RED_AND_BLUE).config
    assert again.plan(RED_AND_BLUE).config is not predictor.plan(RED_AND_BLUE).config
    long = RED_AND_BLUE.replace("<View>", "<View>" + " " * (1 << 16))
    assert predictor.plan(long).config is not predictor.plan(long).config
    for number in range(100):
        predictor.plan(RED_AND_BLUE.replace("red", f"red {number}"))
    assert predictor.plan(RED_AND_BLUE).version == again.plan(RED_AND_BLUE).version


colours = st.lists(
    st.sampled_from(["red", "blue", "green", "white"]), min_size=1, max_size=3
)
tasks = st.tuples(st.integers(1, 3), colours, st.lists(colours, max_size=2))
configs = st.sampled_from(
    [
        PAGES,
        PAGES.replace("Brush", "Polygon"),
        PAGES.replace('name="tag"', 'name="tag" model_regions="part"'),
        PAGES.replace('"blue"', '"green"'),
        PAGES.replace("Brush", "Bitmask"),
    ]
)
SHARED = MemoryCache()


@settings(
    max_examples=at_most(500),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(requests=st.lists(st.tuples(configs, st.lists(tasks, min_size=1, max_size=3))))
def test_answers_are_those_of_a_backend_that_keeps_none(requests: Any) -> None:
    segmenter = ColourSegmenter()
    kept = keeping(segmenter, SHARED, ImageFetcher(timeout_s=5))
    plain = make_predictor(segmenter)
    for config, asked in requests * 2:
        body = {
            "label_config": config,
            "tasks": [
                {
                    "id": task_id,
                    "data": {"image": [picture(*page) for page in (first, *pages)]},
                }
                for task_id, first, pages in asked
            ],
        }
        request = parse_predict(body)
        assert kept.predict(request, NOWHERE) == plain.predict(request, NOWHERE)


def test_http_answers_are_those_that_the_standard_library_writes(
    predictor: Predictor,
) -> None:
    client = client_of(predictor)
    body = {
        "tasks": [{"id": 1, "data": {"image": PICTURE}}, {"id": 2, "data": {}}],
        "label_config": RED_AND_BLUE.replace("red", "Ünïcode 赤"),
    }
    for _ in range(2):
        answer = client.post("/predict", json=body)

        assert answer.mimetype == "application/json"
        found = json.loads(answer.data)
        text = json.dumps(
            found, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        )
        assert answer.data == text.encode() + b"\n"
