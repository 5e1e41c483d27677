import contextlib
import logging
import os
import pickle
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cache.embedded_store import EmbeddedCache
from backend.cache.store import open_cache
from tests.clock import Clock


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def embedded(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedCache]:
    with contextlib.closing(
        EmbeddedCache(tmp_path / "cache", ttl_s=60, clock=clock)
    ) as cache:
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
    with contextlib.closing(
        EmbeddedCache(tmp_path, ttl_s=60, size_limit_bytes=limit_bytes)
    ) as cache:
        for i in range(60):
            cache.put(str(i), os.urandom(50_000))

        assert cache.get("0") is None
        assert cache.get("59") is not None
    assert (tmp_path / "cache.db").stat().st_size < limit_bytes + 200_000


def break_folder_under_a_file(folder: Path) -> None:
    folder.write_text("a file where the folder should be")


def break_database_folder(folder: Path) -> None:
    (folder / "cache.db").mkdir(parents=True)


def break_database_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(os.urandom(10_000))


def break_database_schema(folder: Path) -> None:
    with contextlib.closing(EmbeddedCache(folder, ttl_s=60)) as cache:
        cache.put("key", b"value")
    file = folder / "cache.db"
    columns = b"filename TEXT, value BLOB"
    data = file.read_bytes()
    assert columns in data
    file.write_bytes(data.replace(columns, columns.replace(b"u", b"\xc0")))


def break_database_cut_short(folder: Path) -> None:
    with contextlib.closing(EmbeddedCache(folder, ttl_s=60)) as cache:
        cache.put("key", bytes(100_000))
    file = folder / "cache.db"
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
    embedded: EmbeddedCache,
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
    embedded: EmbeddedCache, clock: Clock, tmp_path: Path
) -> None:
    embedded.put("key", b"value")
    shutil.rmtree(tmp_path / "cache")

    embedded.put("key", b"value")
    clock.now += 5
    embedded.put("key", b"new")

    assert embedded.get("key") == b"new"


def test_full_disk_skips_the_put_and_keeps_reads(
    embedded: EmbeddedCache, clock: Clock, caplog: pytest.LogCaptureFixture
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


def test_locked_database_is_a_skipped_put(
    embedded: EmbeddedCache, tmp_path: Path
) -> None:
    embedded.put("old", b"value")
    database = sqlite3.connect(tmp_path / "cache" / "cache.db", isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")

        embedded.put("new", b"value")

        assert embedded.stats.faults == 1
        assert embedded.get("old") == b"value"


class Trap:
    """What a pickle can do to whoever reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self._path,))


def test_pickle_planted_in_the_database_is_a_miss_and_never_read(
    embedded: EmbeddedCache, tmp_path: Path
) -> None:
    trapped = tmp_path / "trapped"
    embedded.put("pickle", b"")
    embedded.put("text", b"")
    embedded.put("file", b"")
    database = sqlite3.connect(tmp_path / "cache" / "cache.db", isolation_level=None)
    with contextlib.closing(database):
        update = "UPDATE Cache SET mode = ?, filename = ?, value = ? WHERE key = ?"
        database.execute(update, (4, None, pickle.dumps(Trap(trapped)), "pickle"))
        database.execute(update, (1, None, "text", "text"))
        database.execute(update, (2, "../secret", None, "file"))
    secret = tmp_path / "secret"
    secret.write_text("secret")

    assert embedded.get_many(["pickle", "text", "file"]) == [None] * 3
    embedded.put("file", b"new")

    assert embedded.get("file") == b"new"
    assert secret.exists()
    assert not trapped.exists()
    assert embedded.stats.faults == 0
