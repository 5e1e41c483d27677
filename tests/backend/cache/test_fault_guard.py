import logging
import threading

import pytest

from backend.cache.fault_guard import CacheStats, FaultGuard
from tests.clock import Clock


def refuse() -> bool:
    raise PermissionError("no")


def vanish() -> bool:
    raise ConnectionError("AUTH hunter2 failed")


def agree() -> bool:
    return True


@pytest.fixture
def guard(clock: Clock, caplog: pytest.LogCaptureFixture) -> FaultGuard:
    caplog.set_level(logging.INFO)
    return FaultGuard(
        "Store",
        unreachable=(OSError,),
        refused=(PermissionError,),
        secrets=["hunter2", ""],
        stats=CacheStats(),
        cooldown_s=5,
        clock=clock,
    )


def test_unreachable_store_is_left_alone_until_the_cooldown_ends(
    guard: FaultGuard, clock: Clock
) -> None:
    assert guard.read(vanish) is None

    assert guard.read(agree) is None
    assert guard.write(agree) is None
    clock.now += 5
    assert guard.read(agree) is True
    assert guard.write(agree) is True


def test_refused_write_leaves_reads_alone(guard: FaultGuard, clock: Clock) -> None:
    assert guard.write(refuse) is None

    assert guard.read(agree) is True
    assert guard.write(agree) is None
    clock.now += 5
    assert guard.write(agree) is True


def test_one_outage_is_one_warning_and_one_recovery(
    guard: FaultGuard, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        guard.read(vanish)
        guard.write(vanish)
        clock.now += 60
    guard.read(agree)
    guard.read(agree)

    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert "hunter2" not in caplog.text


def test_refused_writes_between_reads_are_one_warning(
    guard: FaultGuard, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        guard.read(agree)
        guard.write(refuse)
        clock.now += 5

    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_writes_that_are_accepted_again_are_one_recovery(
    guard: FaultGuard, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    guard.write(refuse)
    clock.now += 5
    guard.write(agree)
    guard.write(agree)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.records[-1].message == "Writing to Store is available again."


def test_store_that_refuses_is_reachable_again(guard: FaultGuard, clock: Clock) -> None:
    guard.read(vanish)
    clock.now += 5

    guard.write(refuse)

    assert guard.read(agree) is True


def test_exception_that_is_no_fault_of_the_store_is_raised(guard: FaultGuard) -> None:
    def mistake() -> bool:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        guard.read(mistake)


def test_stats_count_every_thread() -> None:
    stats = CacheStats()

    def count() -> None:
        for _ in range(1000):
            stats.add(hits=1, misses=2, faults=3)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (stats.hits, stats.misses, stats.faults) == (4000, 8000, 12000)
