import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import FeedbackUnavailable
from backend.feedback import FeedbackStore, intake, open_feedback_store
from backend.feedback.events import Event
from backend.feedback.intake import EventWorker, Intake, pause_after_s
from tests.backend.feedback.annotations import annotation, deleted, payload
from tests.fakes import RED_AND_BLUE
from tests.redis_server import running_redis

TRAIN = {"action": "START_TRAINING", "project": {"id": 7}}


def sent(annotation_id: int = 31, minute: int = 0) -> dict[str, object]:
    submitted = annotation([], annotation_id=annotation_id, minute=minute)
    return payload(submitted, config=RED_AND_BLUE, data={"image": "a.png"})


def wait_until(is_so: Callable[[], bool], timeout_s: float = 5) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture
def memory(tmp_path: Path) -> FeedbackStore:
    return open_feedback_store(None, tmp_path)


def test_an_event_waits_in_the_store_once(store: FeedbackStore) -> None:
    taken = Intake(store, "model")

    assert taken.accept(sent())
    assert taken.accept(sent())
    assert taken.accept(sent(minute=1))
    assert taken.accept(deleted(31))

    assert store.n_events("model") == 3


def test_training_that_is_asked_for_twice_is_wanted_twice(
    memory: FeedbackStore,
) -> None:
    taken = Intake(memory, "model")
    taken.accept(TRAIN)
    time.sleep(0.01)
    taken.accept(TRAIN)

    assert memory.n_events("model") == 2


def test_what_is_none_of_ours_is_not_taken(
    memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Intake(memory, "model")

    assert not taken.accept({"action": "TASKS_CREATED"})
    assert caplog.text == ""
    assert not taken.accept({"action": "ANNOTATION_CREATED", "project": {"id": 7}})
    assert "it has no annotation" in caplog.text
    assert memory.n_events("model") == 0


def test_what_is_too_large_is_left_out_with_the_remedy(
    memory: FeedbackStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("backend.feedback.store.MOST_EVENT_BYTES", 100)

    assert Intake(memory, "model").accept(sent())
    assert memory.n_events("model") == 0
    assert "feedback import" in caplog.text


def test_events_outlast_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_COOLDOWN_S", 0.01)
    monkeypatch.setattr(intake, "_AWAY_S", 0.02)
    done: list[int] = []
    with running_redis() as server:
        store = open_feedback_store(server.url, tmp_path)
        server.stop()
        taken = Intake(store, "model")
        worker = EventWorker(
            store, "model", lambda event: done.append(event.annotation), intake=taken
        )
        worker.start()
        for number in (31, 32):
            assert taken.accept(sent(number))
        time.sleep(0.1)
        assert done == []

        server.start()
        wait_until(lambda: sorted(done) == [31, 32])
        worker.stop()
        worker.join(5)
        assert store.n_events("model") == 0


def test_a_store_that_hangs_costs_one_webhook_its_timeout(
    monkeypatch: pytest.MonkeyPatch, memory: FeedbackStore
) -> None:
    def hang(queue: str, event_id: str, body: bytes) -> bool:
        time.sleep(0.3)
        raise FeedbackUnavailable("hangs")

    monkeypatch.setattr(memory, "add_event", hang)
    taken = Intake(memory, "model")
    taken.accept(sent(1))
    started = time.monotonic()
    for number in range(2, 10):
        taken.accept(sent(number))

    assert time.monotonic() - started < 0.2


def test_what_waits_for_a_store_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(intake, "_MOST_UNSTORED", 2)
    with running_redis() as server:
        taken = Intake(open_feedback_store(server.url, tmp_path), "model")
        server.stop()
        for number in range(1, 5):
            taken.accept(sent(number))

    assert caplog.text.count("is lost") == 2


def test_the_thread_begins_with_what_waits_from_before(
    store: FeedbackStore,
) -> None:
    Intake(store, "model").accept(sent())
    done: list[Event] = []
    worker = EventWorker(store, "model", done.append)
    worker.start()

    wait_until(lambda: bool(done))
    wait_until(lambda: store.n_events("model") == 0)
    worker.stop()
    worker.join(5)
    assert done[0].annotation == 31


def test_a_webhook_wakes_the_thread(memory: FeedbackStore) -> None:
    done: list[float] = []
    taken = Intake(memory, "model")
    worker = EventWorker(
        memory, "model", lambda event: done.append(time.monotonic()), intake=taken
    )
    worker.start()
    time.sleep(0.2)
    sent_at = time.monotonic()
    taken.accept(sent())

    wait_until(lambda: bool(done))
    worker.stop()
    worker.join(5)
    assert done[0] - sent_at < 0.5


def test_what_others_are_there_for_is_left_to_them_for_a_while(
    memory: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_POLL_S", 0.02)
    monkeypatch.setattr(intake, "_LEFT_TO_OTHERS_S", 0.4)
    Intake(memory, "model").accept(sent())
    done: list[Event] = []
    worker = EventWorker(memory, "model", done.append, has_others=lambda: True)
    worker.start()

    time.sleep(0.2)
    assert done == []
    wait_until(lambda: bool(done))
    worker.stop()
    worker.join(5)


def test_what_cannot_be_done_now_is_done_later(
    memory: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_POLL_S", 0.02)
    monkeypatch.setattr(intake, "_FIRST_PAUSE_S", 0.05)
    Intake(memory, "model").accept(sent())
    tries: list[float] = []

    def fail_twice(event: Event) -> str | None:
        tries.append(time.monotonic())
        return "away" if len(tries) < 3 else None

    worker = EventWorker(memory, "model", fail_twice)
    worker.start()
    wait_until(lambda: memory.n_events("model") == 0)
    worker.stop()
    worker.join(5)

    first, second, third = tries
    assert second - first > 0.04
    assert third - second > 0.14


def test_pauses_grow_up_to_hours() -> None:
    pauses = [pause_after_s(attempts) for attempts in range(1, 12)]

    assert pauses[0] == 30
    assert pauses == sorted(pauses)
    assert 86_400 < sum(pauses) < 4 * 86_400


@pytest.mark.parametrize("fault", [ValueError("odd"), FeedbackUnavailable("away")])
def test_a_fault_costs_its_event_alone(
    fault: Exception, memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Intake(memory, "model")
    done: list[int] = []

    def work_on(event: Event) -> None:
        if event.annotation == 31:
            raise fault
        done.append(event.annotation)

    for number in (31, 32):
        taken.accept(sent(number))
        time.sleep(0.002)
    assert EventWorker(memory, "model", work_on).work_off() == 2

    assert done == [32]
    assert memory.n_events("model") == 1
    assert str(fault) in caplog.text


def test_what_never_works_is_given_up_with_the_remedy(
    memory: FeedbackStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(intake, "_FIRST_PAUSE_S", 0.0)
    Intake(memory, "model").accept(sent())
    worker = EventWorker(memory, "model", lambda event: "the image is away.")

    assert worker.work_off() == 12
    assert memory.n_events("model") == 0
    assert "given up after 12 tries" in caplog.text
    assert "feedback import" in caplog.text


def test_an_event_that_ends_each_process_is_given_up(
    memory: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.feedback.store.EVENT_LEASE_S", 0.0)
    Intake(memory, "model").accept(sent())
    for _ in range(12):
        assert memory.take_event("model") is not None  # and is killed

    def not_again(event: Event) -> None:
        raise AssertionError

    assert EventWorker(memory, "model", not_again).work_off() == 1
    assert memory.n_events("model") == 0


def test_an_event_is_kept_from_others_for_as_long_as_it_takes(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("store", "intake"):
        monkeypatch.setattr(f"backend.feedback.{name}.EVENT_LEASE_S", 0.15)
    Intake(store, "model").accept(sent())
    taken_by_others = []

    def slow(event: Event) -> None:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            taken_by_others.append(store.take_event("model"))
            time.sleep(0.02)

    EventWorker(store, "model", slow).work_off()

    assert set(taken_by_others) == {None}
    assert store.n_events("model") == 0


def test_bytes_that_are_no_event_are_left_out(
    memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    memory.add_event("model", "odd", b"{}")
    done: list[Event] = []

    EventWorker(memory, "model", done.append).work_off()

    assert (done, memory.n_events("model")) == ([], 0)
    assert "left out" in caplog.text


def test_stopping_leaves_what_waits(memory: FeedbackStore) -> None:
    taken = Intake(memory, "model")
    started = threading.Event()
    goes_on = threading.Event()

    def slow(event: Event) -> None:
        started.set()
        goes_on.wait(5)

    for number in (31, 32):
        taken.accept(sent(number))
    worker = EventWorker(memory, "model", slow, intake=taken)
    worker.start()
    started.wait(5)
    worker.stop()
    goes_on.set()
    worker.join(5)

    assert memory.n_events("model") == 1
