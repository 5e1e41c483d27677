"""Start real servers for a while, and stop exactly those, by pid.

Everything binds the loopback interface on a port that was free a moment ago.
A server that dies or does not answer in time raises `NotReady` with the end of
its log, so that a red test shows the reason and not a refused connection.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx

REPOSITORY: Final = Path(__file__).parents[2]
CACHE_DIR: Final = REPOSITORY / ".cache"
ARTIFACTS_DIR: Final = REPOSITORY / ".artifacts" / "e2e"

LOOPBACK: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 20
_POLL_S: Final = 0.1
_LOG_TAIL_CHARACTERS: Final = 3000
# What a child may know of our environment: nothing that configures a server. How many
# threads compute is a matter of the machine, and of how many tests it runs at once.
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS")
# Where Debian keeps servers; not on everybody's PATH.
_SERVERS_PATH: Final = "/usr/sbin"


class NotReady(Exception):
    """A server did not come up, or a program that a test needs is absent."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_program(name: str) -> str:
    """The program's path; `NotReady` with the remedy when it is absent."""
    path = shutil.which(name) or shutil.which(name, path=_SERVERS_PATH)
    if path is None:
        raise NotReady(
            f"{name!r} is not on the PATH. `make system-packages` installs it on "
            f"Debian; elsewhere install it by hand and run the tests again."
        )
    return path


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """A bare environment for a child, so that ours cannot change the outcome."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **extra}


@contextmanager
def running(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log_path: Path,
    is_ready: Callable[[], bool],
    timeout_s: float,
    folder: Path = REPOSITORY,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `folder` till the block ends; enter it once `is_ready` says so.

    Raises:
        NotReady: the process ended, or `timeout_s` passed, before it was ready.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=child_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal reaches us alone; we then stop the child.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, command, log_path, is_ready, timeout_s)
        yield process
    finally:
        _stop(process)


def answers(url: str, auth: tuple[str, str] | None = None) -> bool:
    """Whether a GET of `url` is answered with a 2xx within a second."""
    try:
        return httpx.get(url, timeout=1, auth=auth).is_success
    except httpx.TransportError:
        return False


def accepts_connections(address: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    command: Sequence[str],
    log_path: Path,
    is_ready: Callable[[], bool],
    timeout_s: float,
) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        if process.poll() is not None:
            what = f"ended with status {process.returncode}"
        elif time.monotonic() > deadline:
            what = f"was not ready after {timeout_s:.0f} s"
        else:
            time.sleep(_POLL_S)
            continue
        tail = log_path.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        raise NotReady(f"`{' '.join(command)}` {what}. End of {log_path}:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # The session is the child's own, so this group holds nobody else.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
