"""Requests that may hold one picture at a time, and are answered all the same."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.images import ImageFetcher
from backend.types import Task
from tests.asking import NOWHERE, ask
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    Pixels,
    data_uri,
    make_predictor,
    picture,
)

N_PIXELS = 400


def pictures(number: int, first: int = 0) -> list[str]:
    """Pictures of about `N_PIXELS`, each another."""
    return [
        picture("red", "blue", size_yx=(20, 20 + n))
        for n in range(first, first + number)
    ]


@pytest.mark.parametrize("most", [1, N_PIXELS, 3 * N_PIXELS])
def test_predict_answers_more_pictures_than_there_is_room_for(most: int) -> None:
    predictor = make_predictor(
        ColourSegmenter(), fetcher=ImageFetcher(max_pixels_held=most), budget_s=30
    )
    addresses = pictures(20)
    addresses[3:3] = [data_uri(b"no picture"), "", "http://10.0.0.1/a.png"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(predictor, *addresses), range(4)))

    for of_one in answers:
        assert [bool(it) for it in of_one] == [True] * 3 + [False] * 3 + [True] * 17


def test_predict_takes_no_more_pictures_than_there_is_room_for() -> None:
    fetcher = ImageFetcher(max_pixels_held=2 * N_PIXELS + 100)
    most_held = 0

    def look(pixels: Pixels) -> None:
        nonlocal most_held
        most_held = max(most_held, fetcher._budget._held)
        time.sleep(0.02)

    predictor = make_predictor(ColourSegmenter(look), fetcher=fetcher)

    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda n: ask(predictor, *pictures(6, 6 * n)), range(3))
        )

    assert all(all(of_one) for of_one in answers)
    assert most_held <= 2 * N_PIXELS + 100


def test_a_request_that_is_over_leaves_its_room_to_others() -> None:
    held, go_on = threading.Event(), threading.Event()

    def block(pixels: Pixels) -> None:
        held.set()
        assert go_on.wait(30)

    fetcher = ImageFetcher(max_pixels_held=N_PIXELS)
    slow = make_predictor(ColourSegmenter(block), fetcher=fetcher, budget_s=0.5)
    quick = make_predictor(ColourSegmenter(), fetcher=fetcher, budget_s=20)
    try:
        given_up = ask(slow, *pictures(5))
        # Those that still waited to be decoded do not any more.
        wait_until(lambda: not fetcher._budget._line)
    finally:
        go_on.set()

    assert held.is_set()
    assert given_up == [[]] * 5
    assert all(ask(quick, *pictures(5, 10)))


def test_somebody_who_looks_at_a_task_waits_for_no_batch() -> None:
    order: list[int] = []
    reached, go_on = threading.Event(), threading.Event()

    def note(pixels: Pixels) -> None:
        order.append(pixels.shape[1])
        reached.set()
        assert go_on.wait(30)

    predictor = make_predictor(
        ColourSegmenter(note), fetcher=ImageFetcher(max_pixels_held=N_PIXELS)
    )
    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(ask, predictor, *pictures(6))
        assert reached.wait(20)
        one = pool.submit(ask, predictor, picture("blue", "red", size_yx=(20, 99)))
        line = predictor.fetcher._budget._line  # type: ignore[attr-defined]
        wait_until(lambda: any(not is_late for is_late, *_ in line))
        go_on.set()

        assert all([*one.result(), *batch.result()])
    assert order.index(99) == 1


def test_background_work_that_is_not_taken_up_holds_nothing() -> None:
    fetcher = ImageFetcher(max_pixels_held=N_PIXELS)
    predictor = make_predictor(ColourSegmenter(), fetcher=fetcher)
    tasks = [
        Task(id=number, data={"image": address})
        for number, address in enumerate(pictures(4))
    ]

    outcomes = predictor.predict_in_background(
        tasks, predictor.plan(RED_AND_BLUE), NOWHERE, limit_s=30
    )
    next(outcomes)
    outcomes.close()

    assert all(ask(predictor, *pictures(4, 10)))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
