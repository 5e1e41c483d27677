import contextlib
import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.cache.cache import Cache, open_cache
from backend.cache.sqlite_store import SqliteStore
from tests.clock import Clock

FILE = "scores.sqlite3"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def embedded(tmp_path: Path, clock: Clock) -> Iterator[Cache]:
    store = SqliteStore(tmp_path / "cache", ttl_s=60)
    with contextlib.closing(Cache(store, clock=clock)) as cache:
        yield cache


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = ("WARNING", "INFO", "ERROR")
    return [r.levelname for r in caplog.records if r.levelname in names]


def test_embedded_values_outlive_the_process_that_wrote_them(tmp_path: Path) -> None:
    with contextlib.closing(open_cache(None, tmp_path, ttl_s=60)) as first:
        first.put("key", b"value")

    with contextlib.closing(open_cache(None, tmp_path, ttl_s=60)) as second:
        assert second.get("key") == b"value"


def test_two_embedded_caches_share_one_folder(tmp_path: Path) -> None:
    with (
        contextlib.closing(open_cache(None, tmp_path, ttl_s=60)) as first,
        contextlib.closing(open_cache(None, tmp_path, ttl_s=60)) as second,
    ):
        first.put("a", b"1")
        second.put("b", b"2")

        assert first.get_many(["a", "b"]) == second.get_many(["a", "b"]) == [b"1", b"2"]


def test_embedded_cache_stays_under_its_size_limit(tmp_path: Path) -> None:
    limit_bytes = 1_000_000
    store = SqliteStore(tmp_path, ttl_s=60, size_limit_bytes=limit_bytes)
    with contextlib.closing(Cache(store)) as cache:
        for i in range(60):
            cache.put(str(i), os.urandom(50_000))

        assert cache.get("0") is None
        assert cache.get("59") is not None
    assert (tmp_path / FILE).stat().st_size < limit_bytes + 200_000


def test_what_was_stored_longest_ago_is_evicted_first(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, ttl_s=60, size_limit_bytes=500_000)
    with contextlib.closing(Cache(store)) as cache:
        for key in "abcd":
            cache.put(key, bytes(100_000))
        cache.put("a", bytes(100_000))
        cache.put("e", bytes(100_000))

        kept = {key for key in "abcde" if cache.get(key) is not None}

    assert kept == set("acde")


def test_value_above_the_size_limit_is_skipped_and_evicts_nothing(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path, ttl_s=60, size_limit_bytes=500_000)
    with contextlib.closing(Cache(store)) as cache:
        cache.put("small", b"value")
        cache.put("large", bytes(500_001))

        assert cache.get_many(["small", "large"]) == [b"value", None]
        assert cache.stats.faults == 0


def test_expired_values_leave_the_file_with_the_puts_that_follow(
    tmp_path: Path,
) -> None:
    with contextlib.closing(Cache(SqliteStore(tmp_path, ttl_s=1))) as cache:
        for number in range(5):
            cache.put(f"old {number}", b"value")
        time.sleep(1.1)
        cache.put("new", b"value")

    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("SELECT key FROM scores").fetchall() == [("new",)]


def test_clear_gives_the_disk_its_space_back(tmp_path: Path) -> None:
    with contextlib.closing(Cache(SqliteStore(tmp_path, ttl_s=60))) as cache:
        for number in range(10):
            cache.put(str(number), bytes(100_000))
        assert cache.clear() == 10

    assert (tmp_path / FILE).stat().st_size < 100_000


def open_at_once(barrier: Barrier, folders: list[Path], granted: "Queue[int]") -> None:
    for number, folder in enumerate(folders):
        with contextlib.closing(SqliteStore(folder, ttl_s=60)) as store:
            barrier.wait(60)
            (state,) = store.acquire(["key"], "token", 60)
            if not state.is_leased:
                granted.put(number)


def test_processes_that_open_a_new_file_at_once_find_it_usable(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, granted = spawn.Barrier(3), spawn.Queue()
    folders = [tmp_path / str(number) for number in range(20)]
    arguments = (barrier, folders, granted)
    processes = [spawn.Process(target=open_at_once, args=arguments) for _ in range(3)]

    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(granted.get(timeout=10) for _ in folders) == [*range(20)]
    assert granted.empty()


def break_folder_under_a_file(folder: Path) -> None:
    folder.write_text("a file where the folder should be")


def break_database_folder(folder: Path) -> None:
    (folder / FILE).mkdir(parents=True)


def break_database_file(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(os.urandom(10_000))


def break_database_schema(folder: Path) -> None:
    with contextlib.closing(SqliteStore(folder, ttl_s=60)) as cache:
        cache.put("key", b"value")
    file = folder / FILE
    # SQLite's message quotes it, and Python cannot decode that.
    words, data = b"INTEGER PRIMARY KEY", file.read_bytes()
    assert words in data
    file.write_bytes(data.replace(words, words.replace(b"KEY", b"K\xc0Y")))


def break_database_cut_short(folder: Path) -> None:
    with contextlib.closing(SqliteStore(folder, ttl_s=60)) as cache:
        cache.put("key", bytes(100_000))
    file = folder / FILE
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [
        break_folder_under_a_file,
        break_database_folder,
        break_database_file,
        break_database_schema,
        break_database_cut_short,
    ],
)
def test_embedded_cache_that_cannot_be_opened_is_a_miss_until_repaired(
    damage: object,
    embedded: Cache,
    clock: Clock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert callable(damage)
    folder = tmp_path / "cache"
    damage(folder)

    for _ in range(3):
        assert embedded.get("key") is None
        embedded.put("key", b"value")
        assert embedded.ping() is False
        clock.now += 5
    assert levels(caplog) == ["WARNING"]
    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()

    assert embedded.get("key") is None
    embedded.put("key", b"value")
    assert embedded.get("key") == b"value"
    assert levels(caplog) == ["WARNING", "INFO"]


def test_embedded_folder_removed_while_running_is_made_again(
    embedded: Cache, clock: Clock, tmp_path: Path
) -> None:
    embedded.put("key", b"value")
    shutil.rmtree(tmp_path / "cache")

    embedded.put("key", b"value")
    clock.now += 5
    embedded.put("key", b"new")

    assert embedded.get("key") == b"new"
    assert (tmp_path / "cache" / FILE).exists()


@given(
    st.lists(st.tuples(st.integers(0, 8 * 4096 - 1), st.integers(0, 255)), min_size=1)
)
@settings(max_examples=50, deadline=None)
def test_damaged_bytes_never_raise(damage: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.closing(SqliteStore(folder, ttl_s=60)) as store:
            store.put("key", bytes(10_000))
            store.acquire(["key"], "mine", 60)
        data = bytearray((folder / FILE).read_bytes())
        for place, byte in damage:
            data[place % len(data)] = byte
        (folder / FILE).write_bytes(data)

        with contextlib.closing(Cache(SqliteStore(folder, ttl_s=60))) as cache:
            cache.acquire(["key"], "theirs", 60)
            cache.renew(["key"], "mine", 60)
            cache.release(["key"], "mine")
            cache.put("key", b"value")
            assert cache.get("key") in {None, b"value"} or cache.stats.faults
            assert cache.peek("other").value is None
            cache.measure()
            cache.clear()


def test_full_disk_skips_the_put_and_keeps_reads(
    embedded: Cache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    embedded.put("old", b"value")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        embedded.put("new", bytes(1_000_000))
        assert embedded.get("old") == b"value"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert levels(caplog) == ["WARNING"]
    clock.now += 5
    embedded.put("new", b"value")
    assert embedded.get_many(["old", "new"]) == [b"value", b"value"]


def test_locked_database_is_a_skipped_put(embedded: Cache, tmp_path: Path) -> None:
    embedded.put("old", b"value")
    database = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")

        embedded.put("new", b"value")

        assert embedded.stats.faults == 1
        assert embedded.get("old") == b"value"


def test_disk_that_hangs_costs_callers_no_more_than_the_patience(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path, ttl_s=60, patience_s=0.2)
    with contextlib.closing(Cache(store, clock=clock)) as cache:
        cache.put("old", b"value")
        database = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        with contextlib.closing(database):
            # SQLite waits for the lock, longer than the store waits for SQLite.
            database.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            cache.put("new", b"value")
            assert cache.get("old") is None

            assert time.monotonic() - started < 0.8
            assert cache.stats.faults == 1
        assert f"no answer from {tmp_path / FILE} within 0.2 s" in caplog.text

        time.sleep(1)
        clock.now += 5
        assert cache.get("old") == b"value"


class Trap:
    """What a pickle can do to whoever reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self._path,))


def test_nothing_planted_in_the_database_is_unpickled_or_opened(
    embedded: Cache, tmp_path: Path
) -> None:
    trapped, secret = tmp_path / "trapped", tmp_path / "secret"
    secret.write_text("secret")
    planted = {"pickle": pickle.dumps(Trap(trapped)), "file": "../secret", "number": 7}
    for key in planted:
        embedded.put(key, b"")
    database = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
    with contextlib.closing(database):
        for key, value in planted.items():
            update = "UPDATE scores SET value = ? WHERE key = ?"
            database.execute(update, (value, key))

    assert embedded.get_many(list(planted)) == [planted["pickle"], None, None]
    embedded.put("file", b"new")

    assert embedded.get("file") == b"new"
    assert secret.read_text() == "secret"
    assert not trapped.exists()
    assert embedded.stats.faults == 0


def test_code_planted_in_the_schema_is_a_miss(embedded: Cache, tmp_path: Path) -> None:
    embedded.put("key", b"value")
    database = sqlite3.connect(tmp_path / "cache" / FILE, isolation_level=None)
    with contextlib.closing(database):
        database.execute("ALTER TABLE scores RENAME TO theirs")
        database.execute(
            "CREATE VIEW scores AS SELECT key, 1e99 AS expires_s, "
            "CAST(page_count AS BLOB) AS value FROM theirs, pragma_page_count"
        )

    assert embedded.get("key") is None
    assert embedded.stats.faults == 1


def test_cache_of_an_older_version_is_left_alone(
    embedded: Cache, tmp_path: Path
) -> None:
    trapped = tmp_path / "trapped"
    (tmp_path / "cache").mkdir()
    old = tmp_path / "cache" / "cache.db"
    with contextlib.closing(sqlite3.connect(old)) as database, database:
        database.execute("CREATE TABLE Cache (key, mode, filename, value BLOB)")
        database.execute(
            "INSERT INTO Cache VALUES ('key', 4, NULL, ?)",
            (pickle.dumps(Trap(trapped)),),
        )
    before = old.read_bytes()

    assert embedded.get("key") is None
    embedded.put("key", b"value")

    assert embedded.get("key") == b"value"
    assert embedded.stats.faults == 0
    assert old.read_bytes() == before
    assert not trapped.exists()
