import logging
import threading

import pytest

from backend.circuit_breaker import Circuit
from tests.clock import Clock


def test_broken_circuit_lets_one_of_many_threads_try(clock: Clock) -> None:
    circuit = Circuit("Store", cooldown_s=5, clock=clock)
    circuit.trip("gone")
    clock.now += 5
    allowed: list[bool] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        allowed.append(circuit.allows())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(allowed) == [False] * 7 + [True]


def test_circuit_breaks_with_the_last_of_the_faults_it_bears(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    circuit = Circuit("Store", cooldown_s=5, clock=clock, faults_to_break=3)

    for _ in range(2):
        circuit.trip("gone")
        assert circuit.allows()
    assert caplog.text == ""
    circuit.trip("gone")

    assert not circuit.allows()
    assert "Store failed: gone" in caplog.text


def test_success_starts_the_count_of_faults_anew(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    circuit = Circuit("Store", cooldown_s=5, clock=clock, faults_to_break=2)

    circuit.trip("gone")
    circuit.mend()
    circuit.trip("gone")

    assert circuit.allows()
    assert caplog.text == ""


def test_pause_counts_down_to_a_try_and_starts_again_with_it(clock: Clock) -> None:
    circuit = Circuit("Store", cooldown_s=5, clock=clock)
    circuit.trip("gone")

    clock.now += 3
    assert circuit.pause_s() == 2
    clock.now += 2
    assert circuit.pause_s() == 0
    assert circuit.pause_s() == 5


def test_every_try_that_fails_doubles_the_pause_up_to_the_longest(
    clock: Clock,
) -> None:
    circuit = Circuit("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)
    circuit.trip("gone")

    pauses = []
    for _ in range(6):
        pauses.append(circuit.pause_s())
        clock.now += pauses[-1]
        assert circuit.allows()
        circuit.trip("still gone")

    assert pauses == [5, 10, 20, 40, 60, 60]


def test_faults_of_many_callers_at_once_do_not_double_the_pause(clock: Clock) -> None:
    circuit = Circuit("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)

    for _ in range(8):
        circuit.trip("gone")

    assert circuit.pause_s() == 5


def test_a_success_brings_the_first_pause_back(clock: Clock) -> None:
    circuit = Circuit("Store", cooldown_s=5, longest_cooldown_s=60, clock=clock)
    circuit.trip("gone")
    clock.now += 5
    assert circuit.allows()
    circuit.trip("still gone")
    circuit.mend()

    circuit.trip("gone again")

    assert circuit.pause_s() == 5
