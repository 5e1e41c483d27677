import contextlib
import os
import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from backend.cache import KEY_PREFIX
from backend.doctor.cache import check_cache
from backend.doctor.findings import Finding
from tests.backend.doctor.checks import only, settings
from tests.redis_server import RedisServer, free_port, running_redis


def check(**variables: str) -> Finding:
    return only(check_cache(settings(**variables)))


def test_check_cache_finds_a_folder_that_can_be_written(tmp_path: Path) -> None:
    finding = check(CACHE_DIR=str(tmp_path / "new" / "cache"))

    assert finding.level == "ok"
    assert f"in {tmp_path}/new/cache" in finding.seen
    assert "GB free" in finding.seen
    assert not any((tmp_path / "new" / "cache").iterdir())


def test_check_cache_reports_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    finding = check(CACHE_DIR=str(tmp_path / "file" / "cache"))

    assert finding.level == "problem"
    assert "cannot be written to (Not a directory)" in finding.seen


def test_check_cache_warns_of_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda folder: usage._replace(free=5 * 10**8)
    )

    finding = check(CACHE_DIR=str(tmp_path))

    assert finding.level == "warning"
    assert "0.5 GB free; it grows to 1.1 GB" in finding.seen


def test_check_cache_measures_redis(redis_url: str, redis_server: RedisServer) -> None:
    finding = check(REDIS_URL=redis_url)

    assert finding.level == "ok"
    assert f"Redis at {redis_url.removeprefix('redis://')} answers in" in finding.seen
    assert "memory: no limit" in finding.seen
    with redis_server.client() as client:
        info: Any = client.info()
        assert f"version {info['redis_version']}" in finding.seen
        assert 0 < int(str(client.ttl(f"{KEY_PREFIX}doctor"))) <= 10


def test_check_cache_warns_of_a_redis_that_refuses_when_it_is_full() -> None:
    limits = ["--maxmemory", "50mb", "--maxmemory-policy", "noeviction"]
    with running_redis(extra_args=limits) as server:
        finding = check(REDIS_URL=server.url)

    assert finding.level == "warning"
    assert finding.remedy is not None
    assert "maxmemory-policy volatile-lru" in finding.remedy


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_check_cache_warns_of_a_redis_that_throws_jobs_out(policy: str) -> None:
    limits = ["--maxmemory", "50mb", "--maxmemory-policy", policy]
    with running_redis(extra_args=limits) as server:
        finding = check(REDIS_URL=server.url)

    assert finding.level == "warning"
    assert "jobs that wait are thrown out" in finding.seen
    assert finding.remedy is not None
    assert "maxmemory-policy volatile-lru" in finding.remedy


def test_check_cache_accepts_any_policy_where_there_is_no_limit() -> None:
    with running_redis(extra_args=["--maxmemory-policy", "allkeys-lru"]) as server:
        finding = check(REDIS_URL=server.url)

    assert finding.level == "ok"
    assert "memory: no limit" in finding.seen


def test_check_cache_warns_of_a_redis_that_is_nearly_full() -> None:
    with running_redis() as server:
        with server.client() as client:
            for number in range(200):
                client.set(f"theirs {number}", b"x" * 100_000)
            memory: Any = client.info("memory")
            client.config_set("maxmemory", int(memory["used_memory"] / 0.95))
        finding = check(REDIS_URL=server.url)

    assert finding.level == "warning"
    assert "it is 9" in finding.seen
    assert "% full" in finding.seen


def test_check_cache_says_what_to_do_about_a_redis_that_is_full() -> None:
    with running_redis(extra_args=["--maxmemory", "100kb"]) as server:
        finding = check(REDIS_URL=server.url)

    assert finding.level == "problem"
    assert "it is full" in finding.seen
    assert finding.remedy is not None
    assert "maxmemory-policy volatile-lru" in finding.remedy


def test_check_cache_accepts_a_redis_that_makes_room() -> None:
    limits = ["--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"]
    with running_redis(extra_args=limits) as server:
        finding = check(REDIS_URL=server.url)

    assert finding.level == "ok"
    assert "memory: 52 MB, volatile-lru" in finding.seen


def test_check_cache_never_shows_the_password() -> None:
    with running_redis(password="s3cr/t@x") as server:
        accepted = check(REDIS_URL=server.url)
        wrong = check(REDIS_URL=f"redis://:wr0ng@127.0.0.1:{server.port}/0")
        missing = check(REDIS_URL=f"redis://127.0.0.1:{server.port}/0")

    assert accepted.level == "ok"
    assert wrong.level == missing.level == "problem"
    assert "does not accept the password, or wants one" in wrong.seen
    assert "does not accept the password, or wants one" in missing.seen
    for finding in (accepted, wrong, missing):
        assert "wr0ng" not in str(finding)
        assert "s3cr" not in str(finding)


def test_check_cache_reports_a_redis_that_is_not_there() -> None:
    port = free_port()

    finding = check(REDIS_URL=f"redis://127.0.0.1:{port}/0")

    assert finding.level == "problem"
    assert finding.seen == (
        f"everything is computed anew each time: Redis at 127.0.0.1:{port}/0 "
        f"cannot be used: connection refused"
    )
    assert finding.remedy is not None
    assert "Start Redis there" in finding.remedy
    assert finding.details == ("`preannotate` and `worker` need it to begin.",)


def test_check_cache_knows_how_a_redis_in_protected_mode_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=_hang_up, args=[server], daemon=True).start()

        finding = check(REDIS_URL=f"redis://127.0.0.1:{port}/0")

    assert finding.level == "problem"
    assert "it closes connections at once" in finding.seen
    assert finding.remedy is not None
    assert "requirepass" in finding.remedy


def _hang_up(server: socket.socket) -> None:
    """As Redis does: an answer, and a reset that overtakes it."""
    resetting = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.sendall(b"-DENIED Redis is running in protected mode\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, resetting)
            connection.close()


def test_check_cache_reports_a_redis_that_may_only_be_read() -> None:
    with (
        running_redis() as primary,
        running_redis(
            extra_args=["--replicaof", "127.0.0.1", str(primary.port)]
        ) as replica,
    ):
        finding = check(REDIS_URL=replica.url)

    assert finding.level == "problem"
    assert "read only replica" in finding.seen


def test_check_cache_accepts_a_redis_that_hides_its_version() -> None:
    with running_redis() as server:
        with server.client() as client:
            client.execute_command(
                *("ACL", "SETUSER", "cache", "on", ">pw", f"~{KEY_PREFIX}*"),
                *("+get", "+set", "+mget", "+ping", "+client"),
            )
        finding = check(REDIS_URL=f"redis://cache:pw@127.0.0.1:{server.port}/0")

    assert finding.level == "ok"
    assert "does not tell its version" in finding.seen
    assert "pw" not in finding.seen


def test_check_cache_reports_a_url_that_redis_cannot_read() -> None:
    finding = check(REDIS_URL="redis://:s3cret@localhost:port/0")

    assert finding.level == "problem"
    assert finding.seen == "REDIS_URL cannot be read"
    assert "s3cret" not in str(finding)


def test_check_cache_reports_a_folder_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/doctor")  # where not even root may write
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)

    assert check(CACHE_DIR=str(folder)).level == "problem"
