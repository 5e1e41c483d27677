"""Pixels for all, and nobody waits for ever."""

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from backend.errors import ImageError
from backend.images import ImageFetcher
from backend.images.pixel_budget import PixelBudget, PixelHold
from backend.types import Turn
from tests.asking import NOWHERE
from tests.fakes import data_uri, encoded, picture, striped

ANY = Turn()


class Line:
    """Asks for pixels, one thread each, in the order of the calls."""

    def __init__(self, budget: PixelBudget, pool: ThreadPoolExecutor) -> None:
        self.budget, self.pool = budget, pool
        self.served: list[str] = []

    def ask(self, name: str, n_pixels: int, turn: Turn = ANY) -> "Future[PixelHold]":
        before = len(self.budget._line)

        def take() -> PixelHold:
            hold = self.budget.take(n_pixels, turn)
            self.served.append(name)
            return hold

        asked = self.pool.submit(take)
        wait_until(lambda: asked.done() or len(self.budget._line) > before)
        return asked


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_take_waits_until_there_is_room() -> None:
    budget = PixelBudget(100)
    with ThreadPoolExecutor(2) as pool:
        line = Line(budget, pool)
        first = budget.take(60, ANY)
        budget.take(40, ANY)
        asked = line.ask("next", 50)
        time.sleep(0.3)
        waited = not asked.done()

        first.release()
        first.release()

        asked.result(20).release()
    assert waited


def test_what_is_larger_than_the_budget_goes_alone() -> None:
    budget = PixelBudget(100)
    with ThreadPoolExecutor(2) as pool:
        line = Line(budget, pool)
        small = budget.take(1, ANY)
        large = line.ask("large", 1000)
        # Nobody overtakes it, however small.
        other = line.ask("small", 1)
        time.sleep(0.3)
        waited = not large.done() and not other.done()

        small.release()
        hold = large.result(20)
        time.sleep(0.3)
        is_alone = not other.done()
        hold.release()

        other.result(20)
    assert waited
    assert is_alone
    assert line.served == ["large", "small"]


def test_who_is_urgent_goes_first_and_the_others_as_they_came() -> None:
    budget = PixelBudget(10)
    with ThreadPoolExecutor(5) as pool:
        line = Line(budget, pool)
        hold = budget.take(10, ANY)
        asked = [
            line.ask("behind requests", 10, Turn(rank=3)),
            line.ask("first", 10),
            line.ask("second", 10),
            line.ask("urgent", 10, Turn(is_urgent=True)),
        ]
        hold.release()
        for _ in range(4):
            wait_until(lambda: any(it.done() for it in asked))
            (done,) = [it for it in asked if it.done()]
            asked.remove(done)
            done.result().release()

    assert line.served == ["urgent", "first", "second", "behind requests"]


def test_who_is_not_wanted_any_more_leaves_the_line() -> None:
    budget = PixelBudget(10)
    over = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        line = Line(budget, pool)
        hold = budget.take(10, ANY)
        left = line.ask("left", 10, Turn(is_wanted=lambda: not over.is_set()))
        behind = line.ask("behind", 10)

        over.set()
        with pytest.raises(ImageError, match="Nobody waits"):
            left.result(20)
        hold.release()

        behind.result(20)


def test_pixels_that_are_gone_are_given_back() -> None:
    budget = PixelBudget(10)
    pixels = np.zeros((2, 5, 3), np.uint8)
    budget.take(10, ANY).release_with(pixels)
    with ThreadPoolExecutor(1) as pool:
        asked = Line(budget, pool).ask("next", 10)

        del pixels
        gc.collect()

        asked.result(20)


def test_fetch_holds_what_it_gives_until_it_is_released() -> None:
    fetcher = ImageFetcher(max_pixels_held=30)
    first = fetcher.fetch(picture("red"), access=NOWHERE)  # 4 x 6
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fetcher.fetch, picture("blue"), access=NOWHERE)
        time.sleep(0.3)
        waited = not asked.done()

        first.release()

        assert asked.result(20).pixels.shape == (4, 6, 3)
    assert waited


def test_fetch_holds_nothing_of_what_it_refuses() -> None:
    fetcher = ImageFetcher(max_pixels_held=30)
    jpeg = encoded(striped("red", size_yx=(64, 64)), "JPEG")

    for _ in range(3):
        with pytest.raises(ImageError):
            fetcher.fetch(data_uri(jpeg[:300]), access=NOWHERE)

    assert fetcher.fetch(picture("red"), access=NOWHERE).pixels.size
