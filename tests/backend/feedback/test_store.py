import contextlib
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.errors import FeedbackUnavailable
from backend.feedback import (
    Correction,
    FeedbackStore,
    TaughtHeads,
    open_feedback_store,
)
from backend.feedback import store as limits
from tests.redis_server import RedisServer, running_redis
from tests.redis_topologies import running_cluster

# As in `redis_records.RedisRecords`.
ACCESS = (
    "+eval +get +set +del +expire +decrby +hget +hset +hdel +hmget +hincrby +hstrlen "
    "+sadd +srem +smembers +zadd +zrem +zcard +zrange +zrangebyscore +zremrangebyrank "
    "+zscore"
)
HEADS = TaughtHeads(version=1, data=b"heads\n\x00", n_corrections=3, made_at="now")


def correction(annotation: int = 1, at: int = 0, **fields: Any) -> Correction:
    return Correction(
        project=fields.pop("project", "7"),
        task="5",
        annotation=annotation,
        updated_at=f"2026-11-28T21:{at:02d}:00.5Z",
        **fields,
    )


def test_corrections_are_ordered_by_annotation(store: FeedbackStore) -> None:
    for annotation in (10, 9, 100):
        store.put(correction(annotation, examples=(b"\n\x00", b"")))

    found = store.corrections("7")
    assert [one.annotation for one in found] == [9, 10, 100]
    assert found[0].examples == (b"\n\x00", b"")
    assert store.corrections("8") == []
    assert store.projects() == ["7"]


@given(
    puts=st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 3), st.booleans()), max_size=12
    ),
    order=st.randoms(use_true_random=False),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_order_of_events_gives_the_same_corrections(
    store: FeedbackStore, puts: list[tuple[int, int, bool]], order: Any
) -> None:
    made = [correction(a, at, is_pending=pending) for a, at, pending in puts]
    states = []
    for turn in range(2):
        store.reset("7")
        shuffled = list(made)
        if turn:
            order.shuffle(shuffled)
        for one in [*shuffled, *shuffled]:
            store.put(one)
        states.append(store.corrections("7"))

    assert states[0] == states[1]
    assert {c.annotation: c.rank for c in states[0]} == {
        a: max(c.rank for c in made if c.annotation == a) for a, _, _ in puts
    }


def test_an_older_event_never_replaces_a_newer_one(store: FeedbackStore) -> None:
    newer = correction(at=2, lead_time_s=2.0)
    store.put(newer)
    store.put(correction(at=1, lead_time_s=1.0))

    assert store.corrections("7") == [newer]


def test_a_pending_one_does_not_take_the_example_of_the_same_moment(
    store: FeedbackStore,
) -> None:
    whole = correction(examples=(b"cells",))
    store.put(whole)
    store.put(correction(is_pending=True))

    assert store.corrections("7") == [whole]
    assert store.correction("7", 1) == whole


def test_a_deleted_annotation_stays_forgotten_though_its_event_comes_late(
    store: FeedbackStore,
) -> None:
    store.put(correction(1))
    store.put(correction(2))
    store.forget("7", [1, 3])
    store.put(correction(1, at=9))
    store.put(correction(3))

    assert [one.annotation for one in store.corrections("7")] == [2]
    store.reset("7")
    store.put(correction(1, at=9))
    assert store.corrections("7") == []


def test_the_oldest_corrections_fall_out(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_CORRECTIONS", 3)
    for annotation in (5, 4, 30, 2):
        store.put(correction(annotation, at=annotation))
    store.put(correction(1, at=1))
    store.put(correction(1, at=1, project="8"))

    assert [one.annotation for one in store.corrections("7")] == [4, 5, 30]
    assert len(store.corrections("8")) == 1


def test_of_one_moment_the_lower_annotations_fall_out(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_CORRECTIONS", 2)
    for annotation in (10, 9, 100):
        store.put(correction(annotation))

    assert [one.annotation for one in store.corrections("7")] == [10, 100]


def test_what_is_too_large_is_refused_with_a_line(
    store: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(correction(examples=(bytes(limits.MOST_CORRECTION_BYTES),)))

    assert store.corrections("7") == []
    assert "the limit is 1048576" in caplog.text


def test_projects_are_bounded(
    store: FeedbackStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(limits, "MOST_PROJECTS", 1)
    store.put(correction())
    store.put(correction(project="8"))
    store.put(correction(2))

    assert store.projects() == ["7"]
    assert len(store.corrections("7")) == 2
    assert "feedback reset" in caplog.text


def test_heads_and_freezing_are_kept_by_project(store: FeedbackStore) -> None:
    assert store.heads("7") is None
    assert not store.is_frozen("7")

    store.put_heads("7", HEADS)
    store.freeze("7", True)

    assert store.heads("7") == HEADS
    assert store.is_frozen("7")
    assert store.heads("8") is None
    store.freeze("7", False)
    assert not store.is_frozen("7")


def test_reset_forgets_one_project(store: FeedbackStore) -> None:
    for project in ("7", "8"):
        store.put(correction(project=project))
        store.put_heads(project, HEADS)
    store.reset("7")

    assert store.projects() == ["8"]
    assert store.corrections("7") == []
    assert store.heads("7") is None
    assert store.heads("8") == HEADS


def test_an_event_is_taken_once_until_it_is_ended(store: FeedbackStore) -> None:
    assert store.take_event("model") is None
    assert store.add_event("model", "a", b"body")
    assert store.add_event("model", "a", b"body")
    assert store.n_events("model") == 1
    assert store.take_event("other model") is None

    event = store.take_event("model")
    assert event is not None
    assert (event.body, event.attempts) == (b"body", 1)
    assert store.take_event("model") is None

    store.postpone_event("model", event, delay_s=-1)
    again = store.take_event("model")
    assert again is not None
    assert again.attempts == 2
    store.end_event("model", again)
    assert store.n_events("model") == 0
    store.postpone_event("model", again, delay_s=-1)
    assert store.take_event("model") is None


def test_an_event_of_a_process_that_died_is_taken_again(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENT_LEASE_S", 0.05)
    store.add_event("model", "a", b"body")
    assert store.take_event("model") is not None
    time.sleep(0.1)

    assert store.take_event("model") is not None


def test_events_are_taken_in_their_order(store: FeedbackStore) -> None:
    for name in ("b", "a", "c"):
        store.add_event("model", name, name.encode())
        time.sleep(0.002)

    taken = [store.take_event("model") for _ in range(3)]
    assert [event and event.body for event in taken] == [b"b", b"a", b"c"]


def test_waiting_events_are_bounded_in_number_and_bytes(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_EVENTS", 2)
    monkeypatch.setattr(limits, "MOST_EVENTS_BYTES", 100)
    monkeypatch.setattr(limits, "MOST_EVENT_BYTES", 90)

    assert not store.add_event("model", "larger than any", bytes(91))
    assert store.add_event("model", "a", bytes(60))
    assert not store.add_event("model", "no room in bytes", bytes(60))
    assert store.add_event("model", "b", bytes(40))
    assert not store.add_event("model", "no room in number", b"")
    event = store.take_event("model")
    assert event is not None
    store.end_event("model", event)
    assert store.add_event("model", "c", bytes(60))


def _write_and_die(open_store: Callable[[], FeedbackStore]) -> None:
    opened = open_store()
    opened.put(correction())
    opened.add_event("model", "a", b"body")
    opened.take_event("model")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_everything_survives_the_kill_of_its_process(
    kind: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_url if kind == "redis" else None
    process = multiprocessing.get_context("fork").Process(
        target=_write_and_die, args=(lambda: open_feedback_store(url, tmp_path),)
    )
    monkeypatch.setattr(limits, "EVENT_LEASE_S", 0.0)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    with contextlib.closing(open_feedback_store(url, tmp_path)) as store:
        assert store.corrections("7") == [correction()]
        event = store.take_event("model")
    assert event is not None
    assert (event.body, event.attempts) == (b"body", 2)


def _put_many(folder: Path, first: int) -> None:
    store = open_feedback_store(None, folder)
    for annotation in range(first, first + 20):
        store.put(correction(annotation))


def test_processes_that_open_one_new_file_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_put_many, args=(tmp_path, first))
        for first in (0, 20, 40, 60)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    assert len(open_feedback_store(None, tmp_path).corrections("7")) == 80


def test_a_redis_that_is_away_says_so_and_shows_no_password() -> None:
    with running_redis(password="hush-hush") as server:
        store = open_feedback_store(server.url, Path("unused"))
        store.put(correction())
        server.stop()

        with pytest.raises(FeedbackUnavailable, match="Check that it runs") as caught:
            store.corrections("7")
        assert "hush-hush" not in str(caught.value)
        server.start()
        assert store.corrections("7") == []
        store.close()


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    folder.mkdir()
    (folder / "feedback.sqlite3").write_bytes(b"no database" * 1000)

    with pytest.raises(FeedbackUnavailable, match=r"feedback\.sqlite3"):
        open_feedback_store(None, tmp_path).projects()


def test_an_unreadable_entry_costs_itself_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_feedback_store(None, tmp_path)
    store.put(correction(1))
    store.put(correction(2))
    store.put_heads("7", HEADS)
    with contextlib.closing(
        sqlite3.connect(tmp_path / "feedback/feedback.sqlite3")
    ) as db:
        db.execute("UPDATE corrections SET value = x'00' WHERE annotation = 1")
        db.execute("UPDATE facts SET value = x'7b7d0a'")
        db.commit()

    assert store.corrections("7") == [correction(2)]
    assert store.heads("7") is None
    assert "left out" in caplog.text


def test_values_have_no_time_to_live_in_redis(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.flushall()
        with contextlib.closing(
            open_feedback_store(redis_server.url, Path("unused"))
        ) as store:
            store.put(replace(correction(), examples=(b"cells",)))
            store.put_heads("7", HEADS)

        keys = list(client.scan_iter("*"))
        assert len(keys) == 4
        assert {client.ttl(key) for key in keys} == {-1}


def test_a_file_that_somebody_deleted_begins_anew(tmp_path: Path) -> None:
    with contextlib.closing(open_feedback_store(None, tmp_path)) as store:
        store.put(correction())
        for file in (tmp_path / "feedback").iterdir():
            file.unlink()
        assert store.corrections("7") == []
        store.put(correction(2))

        assert [one.annotation for one in store.corrections("7")] == [2]


def test_taking_in_an_event_leaves_the_log_of_the_file_to_others(
    tmp_path: Path,
) -> None:
    file = tmp_path / "feedback" / "feedback.sqlite3"
    with contextlib.closing(open_feedback_store(None, tmp_path)) as store:
        for number in range(80):
            assert store.add_event("model", str(number), bytes(100_000))
        taken_in = file.stat().st_size
        for _ in range(20):
            waiting = store.take_event("model")
            assert waiting is not None
            store.end_event("model", waiting)

        assert taken_in < 1_000_000
        assert file.stat().st_size > 5_000_000


def test_reading_makes_no_file(tmp_path: Path) -> None:
    store = open_feedback_store(None, tmp_path)

    assert store.projects() == []
    assert store.take_event("model") is None
    assert list(tmp_path.iterdir()) == []


def test_a_closed_store_opens_again(store: FeedbackStore) -> None:
    store.put(correction())
    store.close()
    store.put(correction(2))

    assert len(store.corrections("7")) == 2
    store.close()


def test_a_cluster_keeps_what_belongs_together_on_one_node() -> None:
    with running_cluster() as servers:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        store = open_feedback_store(f"redis+cluster://{hosts}", Path("unused"))
        with contextlib.closing(store):
            for project in ("7", "8", "9", "10"):
                store.put(correction(1, project=project))
                store.put(correction(2, project=project))
                store.forget(project, [1])
                store.put_heads(project, HEADS)
                store.add_event(f"model {project}", "a", b"body")

            assert store.projects() == ["10", "7", "8", "9"]
            for project in ("7", "8", "9", "10"):
                assert [c.annotation for c in store.corrections(project)] == [2]
                event = store.take_event(f"model {project}")
                assert event is not None
                store.end_event(f"model {project}", event)
                store.reset(project)
            assert store.projects() == []


def test_an_access_list_needs_only_what_is_documented() -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = f"ACL SETUSER feedback on >pw ~diffsegmenter:* {ACCESS}"
            client.execute_command(*rule.split())
        url = f"redis://feedback:pw@127.0.0.1:{server.port}"
        with contextlib.closing(open_feedback_store(url, Path("unused"))) as store:
            store.put(correction())
            store.put(correction(2))
            store.forget("7", [2])
            store.put_heads("7", HEADS)
            store.freeze("7", True)
            store.freeze("7", False)
            assert (store.n_corrections("7"), len(store.corrections("7"))) == (1, 1)
            store.add_event("model", "a", b"body")
            assert store.n_events("model") == 1
            event = store.take_event("model")
            assert event is not None
            store.keep_event("model", event)
            store.end_event("model", event)
            store.reset("7")
            assert store.projects() == []
