"""Score maps of images: out of the cache, or of the model."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from backend.cache import MAX_LAYER_BYTES, EncodingStore, FeatureStore, Slots
from backend.cache.codec import encode_score_maps
from backend.inference.batcher import DeadlineExceeded
from backend.inference.metrics import Metrics
from backend.inference.scorer import Query, Scorer
from backend.types import FetchedImage
from segmenter import Mode, ScoreMaps
from tests.clock import Clock
from tests.fakes import OPTIONS, ColourSegmenter, MemoryCache, Pixels, striped

LATER = 1e9


class AskedCache(MemoryCache):
    """Remembers how many values were asked for at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups: list[int] = []

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.lookups.append(len(keys))
        return super().get_many(keys)


class OddSegmenter(ColourSegmenter):
    """Its maps are changed by a function before they are handed out."""

    def __init__(self, change: Callable[[ScoreMaps], ScoreMaps]) -> None:
        super().__init__()
        self.change = change

    def _score_one(self, pixels: Pixels, labels: tuple[str, ...]) -> ScoreMaps:
        return self.change(super()._score_one(pixels, labels))


def scorer_of(cache: MemoryCache, **fields: object) -> Scorer:
    metrics = Metrics(lambda: cache.stats)
    defaults = {"weights_fingerprint": "colours", "options": OPTIONS}
    return Scorer(cache=cache, metrics=metrics, **{**defaults, **fields})


def layers_in(cache: MemoryCache) -> FeatureStore:
    """What heads read of images, kept beside the maps."""
    slots = Slots(cache, "layers", 64)
    return FeatureStore(slots, max_bytes=0, largest_bytes=MAX_LAYER_BYTES)


def query(
    number: int = 0,
    prompts: tuple[str, ...] = ("red", "blue"),
    mode: Mode = "fast",
) -> Query:
    """One of as many images as there are numbers, 4 pixels high and 6 or more wide."""
    pixels = striped("red", "blue", size_yx=(4, 6 + number))
    image = FetchedImage(pixels=pixels, digest=f"digest {number}")
    return Query(image=image, prompts=prompts, mode=mode)


def ask(
    scorer: Scorer, segmenter: ColourSegmenter, *queries: Query, deadline: float = LATER
) -> list[ScoreMaps | Exception]:
    return list(scorer.score(queries, segmenter, deadline))


def widths_of(answers: list[ScoreMaps | Exception]) -> list[int]:
    """Of the images that the answers are about."""
    for answer in answers:
        assert isinstance(answer, ScoreMaps), answer
    return [answer.size_yx[1] for answer in answers]


def test_answers_come_in_the_order_of_the_queries_whoever_has_them(
    segmenter: ColourSegmenter,
) -> None:
    cache = AskedCache()
    scorer = scorer_of(cache)
    ask(scorer, segmenter, query(1), query(3))
    cache.lookups.clear()

    answers = ask(scorer, segmenter, *map(query, range(5)))

    assert widths_of(answers) == [6, 7, 8, 9, 10]
    assert segmenter.calls == 2 + 3
    assert cache.lookups == [5]


def test_an_answer_is_the_same_to_the_bit_from_the_model_and_from_the_cache(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    fading = np.zeros((1, 7, 3), np.uint8)
    fading[0, :, 0] = [255, 201, 153, 97, 51, 3, 0]
    asked = replace(query(), image=FetchedImage(pixels=fading, digest="fading"))
    scorer = scorer_of(cache)

    fresh, cached = (ask(scorer, segmenter, asked)[0] for _ in range(2))

    assert segmenter.calls == 1
    assert isinstance(fresh, ScoreMaps)
    assert isinstance(cached, ScoreMaps)
    np.testing.assert_array_equal(fresh.maps, cached.maps)
    np.testing.assert_array_equal(fresh.presence, cached.presence)
    assert fresh.size_yx == cached.size_yx == (1, 7)


def test_images_are_counted_that_the_model_has_seen(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    segmenter.images_per_pass = 2
    scorer = scorer_of(cache)

    ask(scorer, segmenter, query(0), query(1))
    ask(scorer, segmenter, query(1), query(2))

    (counter,) = scorer.metrics.images_segmented.collect()
    (total,) = (s.value for s in counter.samples if s.name.endswith("_total"))
    assert total == 3


def packed(
    n_labels: int = 2, *, maps_yx: tuple[int, int] = (4, 6), size_yx=(4, 6)
) -> bytes:
    return encode_score_maps(
        np.zeros((n_labels, *maps_yx), np.float16),
        np.ones(n_labels, np.float32),
        [f"label {number}" for number in range(n_labels)],
        size_yx,
    )


@pytest.mark.parametrize(
    ("value", "is_said"),
    [
        pytest.param(b"not ours", True, id="garbage"),
        pytest.param(packed()[:-3], True, id="cut-short"),
        pytest.param(packed(3), False, id="other-number-of-prompts"),
        pytest.param(packed(size_yx=(6, 4)), False, id="turned"),
    ],
)
def test_a_cached_value_that_is_not_of_the_query_is_computed_anew(
    value: bytes,
    is_said: bool,
    segmenter: ColourSegmenter,
    cache: MemoryCache,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scorer = scorer_of(cache)
    key = scorer._key(query())
    cache.put(key, value)

    (answer,) = ask(scorer, segmenter, query())

    assert isinstance(answer, ScoreMaps)
    assert answer.maps.max() == 1
    assert segmenter.calls == 1
    assert cache.values[key] != value
    assert ("Unreadable cache entry" in caplog.text) is is_said


@pytest.mark.parametrize("part", ["maps", "presence"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_an_error_and_not_kept(
    part: str, value: float, cache: MemoryCache
) -> None:
    def spoil(maps: ScoreMaps) -> ScoreMaps:
        spoilt = getattr(maps, part).copy()
        spoilt.flat[1] = value
        return replace(maps, **{part: spoilt})

    (answer,) = ask(scorer_of(cache), OddSegmenter(spoil), query())

    assert isinstance(answer, ValueError)
    assert "not numbers" in str(answer)
    assert cache.values == {}


def test_scores_that_cannot_be_packed_are_an_answer_that_is_not_kept(
    cache: MemoryCache, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = OddSegmenter(lambda maps: replace(maps, maps=2 * maps.maps))

    (answer,) = ask(scorer_of(cache), segmenter, query())

    assert isinstance(answer, ScoreMaps)
    assert answer.maps.max() == 2
    assert cache.values == {}
    assert "cannot be cached" in caplog.text


def test_what_the_model_raises_for_one_image_stands_in_its_place(
    cache: MemoryCache,
) -> None:
    def refuse(pixels: Pixels) -> None:
        if pixels.shape[1] == 7:
            raise RuntimeError("out of memory")

    segmenter = ColourSegmenter(refuse)
    segmenter.images_per_pass = 3

    first, second, third = ask(scorer_of(cache), segmenter, *map(query, range(3)))

    assert widths_of([first, third]) == [6, 8]
    assert isinstance(second, RuntimeError)
    assert len(cache.values) == 2


def test_after_the_deadline_the_cache_answers_and_the_model_is_not_begun(
    segmenter: ColourSegmenter, cache: MemoryCache, clock: Clock
) -> None:
    scorer = scorer_of(cache, clock=clock)
    ask(scorer, segmenter, query(0))

    known, unknown = ask(scorer, segmenter, query(0), query(1), deadline=clock.now)

    assert isinstance(known, ScoreMaps)
    assert isinstance(unknown, DeadlineExceeded)
    assert segmenter.calls == 1


def test_the_modes_have_passes_and_options_of_their_own(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    segmenter.images_per_pass = 4
    modes: list[Mode] = ["fast", "paper", "fast", "paper"]

    answers = ask(
        scorer_of(cache),
        segmenter,
        *(query(n, mode=mode) for n, mode in enumerate(modes)),
    )

    assert widths_of(answers) == [6, 7, 8, 9]
    assert segmenter.batches == [2, 2]
    assert segmenter.modes == ["fast", "fast", "paper", "paper"]


def test_images_in_one_pass_are_as_many_as_the_model_likes(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    segmenter.images_per_pass = 3

    ask(scorer_of(cache), segmenter, *map(query, range(7)))

    assert segmenter.batches == [3, 3, 1]


def test_one_image_asked_for_twice_in_a_request_is_computed_once(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    answers = ask(scorer_of(cache), segmenter, query(), query())

    assert widths_of(answers) == [6, 6]
    assert segmenter.calls == 1


@pytest.mark.parametrize(
    ("fields", "is_other"),
    [
        pytest.param({"weights_fingerprint": "others"}, True, id="weights"),
        pytest.param(
            {"options": {**OPTIONS, "fast": replace(OPTIONS["fast"], timestep=7)}},
            True,
            id="what-changes-maps",
        ),
        pytest.param(
            {"options": {**OPTIONS, "fast": replace(OPTIONS["fast"], threshold=0.9)}},
            False,
            id="what-cuts-maps",
        ),
    ],
)
def test_maps_of_another_model_are_not_taken(
    fields: dict[str, object],
    is_other: bool,
    segmenter: ColourSegmenter,
    cache: MemoryCache,
) -> None:
    ask(scorer_of(cache), segmenter, query())

    ask(scorer_of(cache, **fields), segmenter, query())

    assert segmenter.calls == (2 if is_other else 1)


def test_who_stops_asking_leaves_nothing_in_line(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    scorer = scorer_of(cache)
    answers = scorer.score([query(n) for n in range(5)], segmenter, LATER)

    next(answers)
    answers.close()

    assert segmenter.calls == 1
    assert scorer._batches._entries == {}
    assert scorer._batches._waiting == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({}, {"is_urgent": True}, id="urgent"),
        pytest.param({"rank": 2}, {"rank": 1}, id="lower-rank"),
        pytest.param({"rank": 1}, {"rank": 0}, id="a-request"),
    ],
)
def test_what_matters_more_goes_before_what_came_first(
    first: dict[str, int], second: dict[str, int], cache: MemoryCache
) -> None:
    is_busy, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        is_busy.set()
        assert go_on.wait(30)

    segmenter, scorer = ColourSegmenter(block), scorer_of(cache)

    def score(queries: list[Query], how: dict[str, int]) -> list[ScoreMaps | Exception]:
        return list(scorer.score(queries, segmenter, LATER, **how))

    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(score, [query(0), query(1)], first)
        assert is_busy.wait(30)
        late = pool.submit(score, [query(2, prompts=("green",))], second)
        pause = threading.Event()
        while len(scorer._batches._entries) < 3:
            pause.wait(0.005)
        go_on.set()
        assert widths_of(early.result(30)) == [6, 7]
        assert widths_of(late.result(30)) == [8]

    # What was begun, then what came later and matters more.
    assert segmenter.asked == [("red", "blue"), ("green",), ("red", "blue")]


def test_who_needs_layers_gets_them_beside_others_who_do_not() -> None:
    """Both ask for the same picture while the model is at another one."""
    at_work, may_go_on = threading.Event(), threading.Event()

    def wait_once(pixels: Pixels) -> None:
        if not at_work.is_set():
            at_work.set()
            may_go_on.wait(10)

    cache, segmenter = MemoryCache(), ColourSegmenter(wait_once)
    segmenter.images_per_pass = 8
    scorer = scorer_of(cache, layers=layers_in(cache))

    def ask(asked: Query) -> ScoreMaps | Exception:
        (maps,) = scorer.score([asked], segmenter, LATER)
        return maps

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, query(0))
        assert at_work.wait(10)
        without = pool.submit(ask, query(1))
        needing = pool.submit(ask, replace(query(1), needs_layers=True))
        time.sleep(0.1)
        may_go_on.set()
        found = [first.result(10), without.result(10), needing.result(10)]

    assert all(isinstance(maps, ScoreMaps) for maps in found)
    assert isinstance(found[2], ScoreMaps)
    assert found[2].layers is not None
    # One pass is for both.
    assert segmenter.calls == 2


def test_maps_without_layers_that_another_process_stored_are_not_enough() -> None:
    cache, segmenter = MemoryCache(), ColourSegmenter()
    needing = replace(query(), needs_layers=True)
    list(scorer_of(cache).score([needing], segmenter, LATER))

    scorer = scorer_of(cache, layers=layers_in(cache))
    assert scorer.cached(needing) is None
    (maps,) = scorer.score([needing], segmenter, LATER)

    assert isinstance(maps, ScoreMaps)
    assert maps.layers is not None
    again = scorer.cached(needing)
    assert again is not None
    np.testing.assert_array_equal(again.layers, maps.layers)
    assert segmenter.calls == 2


def test_layers_that_are_no_numbers_are_none_and_cost_no_further_pass() -> None:
    def spoil(maps: ScoreMaps) -> ScoreMaps:
        return replace(maps, layers=np.full((3, 4, 6), np.nan, np.float16))

    cache, segmenter = MemoryCache(), OddSegmenter(spoil)
    scorer = scorer_of(cache, layers=layers_in(cache))
    needing = replace(query(), needs_layers=True)
    list(scorer.score([needing], segmenter, LATER))

    found = scorer.cached(needing)

    assert found is not None
    assert found.layers is None


def encodings_in(cache: MemoryCache) -> EncodingStore:
    return EncodingStore(cache, max_bytes=0, max_cache_bytes=1 << 26)


def test_other_labels_in_a_known_image_come_with_what_is_known_of_it(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    scorer = scorer_of(cache, encodings=encodings_in(cache))
    again = scorer_of(cache, encodings=encodings_in(cache))

    ask(scorer, segmenter, query(prompts=("red",)))
    ask(again, segmenter, query(prompts=("blue",)), query(1))

    new, known, other = segmenter.known
    assert new is other is None
    assert known is not None
    pixels = query().image.pixels[None].astype(np.float32)
    np.testing.assert_array_equal(known.latents[0], pixels.transpose(0, 3, 1, 2))
    (counter,) = again.metrics.encodings_known.collect()
    assert [s.value for s in counter.samples if s.name.endswith("_total")] == [1]


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        pytest.param({"weights_fingerprint": "others"}, "fast", id="weights"),
        pytest.param({}, "paper", id="mode"),
    ],
)
def test_what_another_model_or_shape_made_of_an_image_is_not_taken(
    fields: dict[str, object],
    mode: Mode,
    segmenter: ColourSegmenter,
    cache: MemoryCache,
) -> None:
    ask(scorer_of(cache, encodings=encodings_in(cache)), segmenter, query())

    other = scorer_of(cache, encodings=encodings_in(cache), **fields)
    ask(other, segmenter, query(prompts=("green",), mode=mode))

    assert segmenter.known == [None, None]


def test_a_segmenter_that_gives_no_encoding_is_asked_without(
    cache: MemoryCache,
) -> None:
    segmenter = OddSegmenter(lambda maps: replace(maps, encoding=None))
    scorer = scorer_of(cache, encodings=encodings_in(cache))

    ask(scorer, segmenter, query(prompts=("red",)))
    (answer,) = ask(scorer, segmenter, query(prompts=("blue",)))

    assert isinstance(answer, ScoreMaps)
    assert segmenter.known == [None, None]


def test_only_what_somebody_may_click_on_or_heads_read_is_read_cell_by_cell(
    segmenter: ColourSegmenter, cache: MemoryCache
) -> None:
    scorer = scorer_of(cache, layers=layers_in(cache))

    ask(scorer, segmenter, query(0))
    ask(scorer, segmenter, replace(query(1), for_clicks=True))
    ask(scorer, segmenter, replace(query(2), needs_layers=True))

    assert segmenter.read_cells == [False, True, True]
