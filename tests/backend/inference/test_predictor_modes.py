"""How controls are read, and what goes to the model together."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backend.inference.predictor import Predictor
from backend.inference.scorer import Query
from backend.types import FetchedImage
from segmenter import MODES, ScoreMaps, SegmenterOptions
from tests.asking import PICTURE, ask, ask_one, names_of
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    Pixels,
    brush_config,
    make_predictor,
    picture,
    striped,
)

TWO_MODES = """<View><Image name="image" value="$image"/>
<BrushLabels name="quick" toName="image"><Label value="red"/></BrushLabels>
<BrushLabels name="published" toName="image" model_mode="paper">
  <Label value="red"/><Label value="blue"/>
</BrushLabels></View>"""


def test_each_control_is_read_in_its_own_mode() -> None:
    segmenter = ColourSegmenter()

    regions = ask_one(make_predictor(segmenter), PICTURE, TWO_MODES)

    assert dict(zip(segmenter.modes, segmenter.asked, strict=True)) == {
        "fast": ("red",),
        "paper": ("red", "blue"),
    }
    assert names_of(regions) == ["red", "red", "blue"]


@pytest.mark.parametrize(
    ("presence", "mode", "control", "label", "expected"),
    [
        pytest.param("paper", "paper", "0", "", 0.0, id="control"),
        pytest.param("paper", "paper", "", "0.2", 0.2, id="label"),
        pytest.param("paper", "paper", "0.9", "", 0.5, id="higher-cuts-the-same-maps"),
        pytest.param("paper", "fast", "0", "", 0.5, id="fast-has-maps-of-all"),
        pytest.param("off", "paper", "0", "", 0.5, id="no-filter"),
    ],
)
def test_paper_mode_reads_the_labels_that_a_lower_presence_threshold_draws(
    presence: Any, mode: Any, control: str, label: str, expected: float
) -> None:
    segmenter = ColourSegmenter()
    options = {mode: SegmenterOptions(mode=mode, presence=presence) for mode in MODES}
    predictor = make_predictor(segmenter, options=options)

    def attribute(value: str) -> str:
        return f'model_presence_threshold="{value}"' if value else ""

    config = brush_config(
        f'<Label value="red" {attribute(label)}/><Label value="blue"/>',
        control=f'model_mode="{mode}" {attribute(control)}',
    )

    ask(predictor, PICTURE, config=config)

    assert segmenter.presence_thresholds == [expected]


def test_maps_of_one_mode_do_not_answer_for_the_other() -> None:
    segmenter, cache = ColourSegmenter(), MemoryCache()
    predictor = make_predictor(segmenter, cache=cache)
    label = '<Label value="red"/>'

    ask(predictor, PICTURE, config=brush_config(label))
    ask(predictor, PICTURE, config=brush_config(label, control='model_mode="paper"'))
    ask(predictor, PICTURE, config=brush_config(label, control='model_mode="fast"'))

    assert segmenter.modes == ["fast", "paper"]
    assert len(cache.values) == 2


@pytest.mark.parametrize("most", [1, 4, 16])
def test_images_go_to_the_model_as_many_together_as_it_likes(most: int) -> None:
    segmenter = ColourSegmenter()
    segmenter.images_per_pass = most
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(24)]

    answers = ask(make_predictor(segmenter), *addresses)

    assert all(answers)
    assert segmenter.calls == 24
    assert max(segmenter.batches) <= most
    if most > 1:
        assert len(segmenter.batches) < 24


def test_requests_of_single_images_share_passes() -> None:
    is_busy, go_on = threading.Event(), threading.Event()

    def block_the_first(pixels: Pixels) -> None:
        is_busy.set()
        assert go_on.wait(30)

    segmenter = ColourSegmenter(block_the_first)
    segmenter.images_per_pass = 8
    predictor = make_predictor(segmenter)
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(ask, predictor, addresses[0])
        assert is_busy.wait(30)
        others = [pool.submit(ask, predictor, one) for one in addresses[1:]]
        _wait_for_orders(predictor, 6)
        go_on.set()
        answers = [future.result(30) for future in (first, *others)]

    assert all(answer for (answer,) in answers)
    assert segmenter.batches == [1, 5]


def test_a_task_opened_eight_times_at_once_is_segmented_once() -> None:
    is_busy, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        is_busy.set()
        assert go_on.wait(30)

    segmenter = ColourSegmenter(block)
    predictor = make_predictor(segmenter, max_concurrent=threading.Semaphore(8))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, predictor, PICTURE)
        assert is_busy.wait(30)
        others = [pool.submit(ask, predictor, PICTURE) for _ in range(7)]
        _wait_for_orders(predictor, 8)
        go_on.set()
        answers = [future.result(30) for future in (first, *others)]

    assert segmenter.calls == 1
    assert all(answer == answers[0] and answer[0] for answer in answers)


def test_a_task_that_is_opened_overtakes_a_batch() -> None:
    is_busy, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        is_busy.set()
        assert go_on.wait(30)

    segmenter = ColourSegmenter(block)
    predictor = make_predictor(segmenter)
    batch = [picture("red", "white", size_yx=(4, 6 + n)) for n in range(8)]
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(ask, predictor, *batch)
        assert is_busy.wait(30)
        opened = pool.submit(
            ask, predictor, PICTURE, config=brush_config('<Label value="blue"/>')
        )
        _wait_for_orders(predictor, 5)
        go_on.set()
        assert all(opened.result(30))
        assert all(whole.result(30))

    # The image that was begun, then the one that somebody looks at.
    assert segmenter.asked[1] == ("blue",)


def _wait_for_orders(predictor: Predictor, count: int) -> None:
    pause = threading.Event()
    while len(predictor.scorer._batches._entries) < count:
        pause.wait(0.005)


def test_an_image_that_breaks_the_model_costs_its_pass_nothing() -> None:
    def refuse_long_ones(pixels: Pixels) -> None:
        if pixels.shape[1] == 9:
            raise RuntimeError("out of memory")

    segmenter = ColourSegmenter(refuse_long_ones)
    segmenter.images_per_pass = 8
    addresses = [picture("red", "blue", size_yx=(4, 6 + n)) for n in range(6)]

    answers = ask(make_predictor(segmenter), *addresses, config=RED_AND_BLUE)

    assert [bool(answer) for answer in answers] == [n != 3 for n in range(6)]


def test_two_spellings_of_one_prompt_share_a_pass_and_keep_their_names() -> None:
    segmenter = ColourSegmenter()
    scorer = make_predictor(segmenter).scorer
    image = FetchedImage(pixels=striped("red", "white"), digest="same")
    spellings = ("caf\u00e9", "cafe\u0301")
    queries = [
        Query(image=image, prompts=(spelling,), mode="fast") for spelling in spellings
    ]

    found = list(scorer.score(queries, segmenter, deadline=scorer.clock() + 60))

    assert segmenter.calls == 1
    assert [maps.labels for maps in found if isinstance(maps, ScoreMaps)] == [
        (spelling,) for spelling in spellings
    ]
