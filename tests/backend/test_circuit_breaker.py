import logging
import threading

import pytest

from backend.circuit_breaker import CircuitBreaker
from tests.clock import Clock


def test_broken_circuit_lets_one_of_many_threads_try(clock: Clock) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, clock=clock)
    breaker.record_failure("gone")
    clock.now += 5
    allowed: list[bool] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        allowed.append(breaker.allows())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(allowed) == [False] * 7 + [True]


def test_circuit_breaks_with_the_last_of_the_faults_it_bears(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, clock=clock, failure_threshold=3)

    for _ in range(2):
        breaker.record_failure("gone")
        assert breaker.allows()
    assert caplog.text == ""
    breaker.record_failure("gone")

    assert not breaker.allows()
    assert "Store failed: gone" in caplog.text


def test_success_starts_the_count_of_faults_anew(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    breaker = CircuitBreaker("Store", cooldown_s=5, clock=clock, failure_threshold=2)

    breaker.record_failure("gone")
    breaker.record_success()
    breaker.record_failure("gone")

    assert breaker.allows()
    assert caplog.text == ""


def test_pause_counts_down_to_a_try_and_starts_again_with_it(clock: Clock) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, clock=clock)
    breaker.record_failure("gone")

    clock.now += 3
    assert breaker.pause_s() == 2
    clock.now += 2
    assert breaker.pause_s() == 0
    assert breaker.pause_s() == 5


def test_every_try_that_fails_doubles_the_pause_up_to_the_longest(
    clock: Clock,
) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)
    breaker.record_failure("gone")

    pauses = []
    for _ in range(6):
        pauses.append(breaker.pause_s())
        clock.now += pauses[-1]
        assert breaker.allows()
        breaker.record_failure("still gone")

    assert pauses == [5, 10, 20, 40, 60, 60]


def test_faults_of_many_callers_at_once_do_not_double_the_pause(clock: Clock) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)

    for _ in range(8):
        breaker.record_failure("gone")

    assert breaker.pause_s() == 5


def test_a_success_brings_the_first_pause_back(clock: Clock) -> None:
    breaker = CircuitBreaker("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)
    breaker.record_failure("gone")
    clock.now += 5
    assert breaker.allows()
    breaker.record_failure("still gone")
    breaker.record_success()

    breaker.record_failure("gone again")

    assert breaker.pause_s() == 5
