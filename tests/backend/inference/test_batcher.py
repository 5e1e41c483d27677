"""Threads that share batches; what is computed is a number's double."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backend.inference.batcher import DeadlineExceeded, MicroBatcher, WorkItem
from tests.clock import Clock, no_longer_than

LATER = 1e9

Doubler = Callable[[Sequence[int]], list[int]]


def item(
    work: int, *, kind: str = "a", deadline: float = LATER, **how: Any
) -> WorkItem:
    return WorkItem(
        work=work, key=how.pop("key", work), kind=kind, deadline=deadline, **how
    )


def noting(batches: list[list[int]]) -> Doubler:
    def double(work: Sequence[int]) -> list[int]:
        batches.append(list(work))
        return [2 * one for one in work]

    return double


def held(double: Doubler, is_busy: threading.Event, go_on: threading.Event) -> Doubler:
    """The same, which says that it has begun and waits for leave to go on."""

    def wait_and_double(work: Sequence[int]) -> list[int]:
        is_busy.set()
        assert go_on.wait(30)
        return double(work)

    return wait_and_double


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.005)
    pytest.fail("it never came to that")


def test_what_stands_in_line_goes_in_batches_first_come_first_served() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    items = [item(number) for number in range(5)]
    line.submit(items)

    results = [line.result(one, noting(batches), most=2) for one in items]

    assert results == [0, 2, 4, 6, 8]
    assert batches == [[0, 1], [2, 3], [4]]


def test_work_of_another_kind_waits_for_a_batch_of_its_own() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    items = [item(n, kind=kind) for n, kind in enumerate("abaab")]
    line.submit(items)

    results = [line.result(one, noting(batches), most=8) for one in items]

    assert results == [0, 2, 4, 6, 8]
    assert batches == [[0, 2, 3], [1, 4]]


def test_threads_that_wait_share_the_next_batch() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    is_busy, go_on = threading.Event(), threading.Event()
    double = held(noting(batches), is_busy, go_on)

    def ask(number: int) -> int | Exception:
        own = item(number)
        line.submit([own])
        return line.result(own, double, most=8)

    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(ask, 0)
        assert is_busy.wait(30)
        others = [pool.submit(ask, number) for number in range(1, 7)]
        wait_until(lambda: len(line._waiting) == 6)
        go_on.set()
        results = [future.result(30) for future in (first, *others)]

    assert results == [0, 2, 4, 6, 8, 10, 12]
    assert batches[0] == [0]
    assert sorted(batches[1]) == [1, 2, 3, 4, 5, 6]


def test_one_that_fails_costs_the_others_of_its_batch_nothing() -> None:
    def double(work: Sequence[int]) -> list[int]:
        if 1 in work:
            raise RuntimeError("out of memory")
        return [2 * one for one in work]

    line = MicroBatcher[int, int]()
    items = [item(number) for number in range(3)]
    line.submit(items)

    found = [line.result(one, double, most=3) for one in items]

    assert (found[0], found[2]) == (0, 4)
    assert isinstance(found[1], RuntimeError)


def test_work_whose_deadline_has_come_is_not_begun(clock: Clock) -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int](clock)
    late, in_time = item(1, deadline=clock.now), item(2, deadline=clock.now + 5)
    line.submit([late, in_time])

    assert line.result(in_time, noting(batches), most=8) == 4
    assert isinstance(line.result(late, noting(batches), most=8), DeadlineExceeded)
    assert batches == [[2]]


def test_what_was_begun_in_time_is_answered_however_long_it_takes(
    clock: Clock,
) -> None:
    line = MicroBatcher[int, int](clock)
    own = item(1, deadline=clock.now + 5)
    line.submit([own])

    def take_long(work: Sequence[int]) -> list[int]:
        clock.now += 60
        return [2 * one for one in work]

    assert line.result(own, take_long, most=1) == 2


def test_who_waits_for_another_s_batch_waits_no_longer_than_the_deadline() -> None:
    line = MicroBatcher[int, int]()
    is_busy, go_on = threading.Event(), threading.Event()
    block = held(noting([]), is_busy, go_on)

    first = item(1)
    line.submit([first])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(line.result, first, block, most=1)
        assert is_busy.wait(30)
        impatient = item(2, deadline=line._clock() + 0.05)
        line.submit([impatient])
        with no_longer_than(10):
            found = line.result(impatient, block, most=1)
        go_on.set()

    assert isinstance(found, DeadlineExceeded)
    assert answer.result(30) == 2
    line.withdraw([first, impatient])
    assert not line._waiting
    assert not line._entries


def test_what_is_withdrawn_is_not_computed() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    kept, withdrawn = item(1), item(2)
    line.submit([withdrawn, kept])
    line.withdraw([withdrawn])

    assert line.result(kept, noting(batches), most=8) == 2
    assert batches == [[1]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interrupted_batch_leaves_nobody_waiting() -> None:
    line = MicroBatcher[int, int]()
    items = [item(number) for number in range(2)]
    line.submit(items)

    def interrupt(work: Sequence[int]) -> list[int]:
        raise SystemExit

    assert isinstance(line.result(items[0], interrupt, most=2), DeadlineExceeded)
    assert isinstance(line.result(items[1], interrupt, most=2), DeadlineExceeded)
    next_one = item(3)
    line.submit([next_one])
    assert line.result(next_one, noting([]), most=2) == 6
    for thread in threading.enumerate():
        if thread.name == "batch":  # its warning is this test's
            thread.join()


def test_who_began_a_batch_leaves_at_the_deadline_and_the_batch_goes_on() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    is_busy, go_on = threading.Event(), threading.Event()
    double = held(noting(batches), is_busy, go_on)
    hasty = item(7, deadline=time.monotonic() + 0.2)
    patient = item(7, key=7)
    line.submit([hasty, patient])

    with no_longer_than(10):
        left = line.result(hasty, double, most=1)
    line.withdraw([hasty])
    go_on.set()

    assert isinstance(left, DeadlineExceeded)
    assert line.result(patient, double, most=1) == 14
    assert batches == [[7]]


def test_the_same_work_is_done_once_for_all_who_want_it() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    is_busy, go_on = threading.Event(), threading.Event()
    double = held(noting(batches), is_busy, go_on)

    def ask(key: str) -> int | Exception:
        own = item(5, key=key)
        line.submit([own])
        try:
            return line.result(own, double, most=8)
        finally:
            line.withdraw([own])

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, "x")
        assert is_busy.wait(30)
        others = [pool.submit(ask, key) for key in ("x", "x", "y", "y", "y")]
        wait_until(lambda: len(line._entries) == 6)
        go_on.set()
        results = [future.result(30) for future in (first, *others)]

    assert results == [10] * 6
    assert batches == [[5], [5]]
    assert not line._entries


def test_work_that_one_of_several_no_longer_wants_is_still_done(clock: Clock) -> None:
    line = MicroBatcher[int, int](clock)
    leaving, late, staying = (
        item(1, key="x"),
        item(1, key="x", deadline=clock.now),
        item(1, key="x", deadline=clock.now + 5),
    )
    line.submit([leaving, late, staying])
    line.withdraw([leaving])

    assert isinstance(line.result(late, noting([]), most=8), DeadlineExceeded)
    assert line.result(staying, noting([]), most=8) == 2


def test_urgent_work_goes_before_what_came_earlier() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    items = [item(n) for n in range(4)]
    urgent = [item(n, is_urgent=True) for n in (10, 11)]
    line.submit([*items, *urgent])

    assert line.result(urgent[0], noting(batches), most=1) == 20
    assert batches == [[10]]
    assert line.result(items[3], noting(batches), most=3) == 6
    assert batches == [[10], [11, 0, 1], [2, 3]]


def test_work_becomes_urgent_when_somebody_wants_it_urgently() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    line.submit([item(n) for n in range(4)])
    same = item(3, is_urgent=True)
    line.submit([same])

    assert line.result(same, noting(batches), most=1) == 6
    assert batches == [[3]]


def test_what_was_begun_first_goes_before_what_came_in_between() -> None:
    batches: list[list[int]] = []
    line = MicroBatcher[int, int]()
    older = [item(number, rank=1) for number in range(3)]
    younger = [item(number, rank=2) for number in range(10, 13)]
    asked = item(20)
    mixed = [both for pair in zip(younger, older, strict=True) for both in pair]
    line.submit([*mixed, asked])

    for one in (*older, *younger, asked):
        line.result(one, noting(batches), most=1)

    assert [work for (work,) in batches] == [20, 0, 1, 2, 10, 11, 12]
