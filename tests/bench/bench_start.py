"""What it costs to begin: `python -m tests.bench.bench_start --baseline BASE`.

    git worktree add --detach BASE b789f02 && make -C BASE dev

Each command as a process of its own, with an embedded cache, a real Redis and a Label
Studio of a few lines (`tests/label_studio_stand_in.py`): CPU time of the process and of
all that it started, medians of rounds that take turns with the baseline's. `serve` is
asked to stop once its model is ready; then its memory is what Linux calls resident.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.process_usage import children, rss_bytes
from tests.e2e.backend_process import python_of
from tests.e2e.processes import LOOPBACK, REPOSITORY, child_environment, free_port
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn, running_stand_in
from tests.redis_server import running_redis

_READY_WITHIN_S: Final = 120


@dataclass(frozen=True)
class Checkout:
    """A checkout, and the environment of its commands."""

    source: Path
    environment: Mapping[str, str]

    def start(
        self, *words: str, without: Sequence[str] = (), **more: str
    ) -> subprocess.Popen[bytes]:
        environment = {
            name: value
            for name, value in self.environment.items()
            if name not in without
        }
        return subprocess.Popen(
            [python_of(self.source), "-m", "backend.cli", *words],
            cwd=self.source,
            env=child_environment(environment | more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, help="a checkout of an older commit")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    sources = {"now": REPOSITORY}
    if asked.baseline:
        sources["baseline"] = asked.baseline.resolve()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        studio = stack.enter_context(running_stand_in())
        project = str(studio.add_project())
        checkouts = {
            name: Checkout(
                source,
                {
                    "MODEL": "pocket",
                    "HOST": LOOPBACK,
                    "CACHE_DIR": str(place / name),
                    "OMP_NUM_THREADS": "1",
                    "LABEL_STUDIO_URL": studio.url,
                    "LABEL_STUDIO_API_KEY": TOKEN,
                    "REDIS_URL": stack.enter_context(running_redis()).url,
                },
            )
            for name, source in sources.items()
        }
        table = Table(box=box.MARKDOWN)
        for title in ("command", *checkouts, "of baseline's"):
            table.add_column(title, justify="left" if title == "command" else "right")
        for row in _commands(checkouts, studio, project, asked.rounds):
            table.add_row(*row)
        for row in _served(checkouts, max(1, asked.rounds // 2)):
            table.add_row(*row)
        Console(width=120).print(table)


def _commands(
    checkouts: Mapping[str, Checkout],
    studio: LabelStudioStandIn,
    project: str,
    rounds: int,
) -> list[list[str]]:
    watched = ("preannotate", "--project", project)
    for checkout in checkouts.values():
        # Of a project without tasks: over at once, and known afterwards.
        assert checkout.start(*watched).wait() == 0
    return [
        _row(
            " ".join(words),
            "s",
            [
                {
                    name: _cpu_s(of, words, without, ends)
                    for name, of in checkouts.items()
                }
                for _ in range(rounds)
            ],
        )
        for words, without, ends in (
            (("--version",), (), None),
            (("--help",), (), 0),
            (("cache", "stats"), ("REDIS_URL",), 0),
            (("cache", "stats"), (), 0),
            ((*watched, "--dry-run"), ("REDIS_URL",), 0),
            ((*watched, "--dry-run"), (), 0),
            ((*watched, "--watch"), (), 0),
        )
    ] + _doctors(checkouts, rounds)


def _doctors(checkouts: Mapping[str, Checkout], rounds: int) -> list[list[str]]:
    """Beside a backend that runs."""
    ports = {name: str(free_port()) for name in checkouts}
    servers = [of.start("serve", PORT=ports[name]) for name, of in checkouts.items()]
    try:
        for port in ports.values():
            _wait_until_ready(port)
        found = [
            {
                name: _cpu_s(of, ("doctor",), (), None, PORT=ports[name])
                for name, of in checkouts.items()
            }
            for _ in range(max(1, rounds // 2))
        ]
    finally:
        for server in servers:
            _stop(server)
    return [_row("doctor, beside a backend", "s", found)]


def _served(checkouts: Mapping[str, Checkout], rounds: int) -> list[list[str]]:
    cpu: list[dict[str, float]] = []
    memory: list[dict[str, float]] = []
    for _ in range(rounds):
        cpu.append({})
        memory.append({})
        for name, of in checkouts.items():
            port = str(free_port())
            server = of.start("serve", PORT=port)
            _wait_until_ready(port)
            (worker,) = children(server.pid)
            memory[-1][name] = rss_bytes(worker) / 1e6
            cpu[-1][name] = _stop(server)
    return [
        _row("serve, until its model is ready", "s", cpu),
        _row("serve, memory of its worker", "MB", memory),
    ]


def _row(name: str, unit: str, found: Sequence[Mapping[str, float]]) -> list[str]:
    medians = {key: median(one[key] for one in found) for key in found[0]}
    digits = 2 if unit == "s" else 0
    row = [name, *(f"{value:.{digits}f} {unit}" for value in medians.values())]
    if "baseline" in medians:
        row.append(f"{medians['now'] / medians['baseline']:.2f}")
    return row


def _cpu_s(
    of: Checkout,
    words: Sequence[str],
    without: Sequence[str],
    ends: int | None,
    **more: str,
) -> float:
    process = of.start(*words, without=without, **more)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert ends is None or process.returncode == ends, (of.source, words)
    return used.ru_utime + used.ru_stime


def _wait_until_ready(port: str) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            health = httpx.get(f"http://{LOOPBACK}:{port}/health", timeout=5).json()
            if health["model"] == "ready":
                return
        time.sleep(0.5)
    sys.exit("The model was not ready in time.")


def _stop(server: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that it and its worker have used."""
    server.send_signal(signal.SIGTERM)
    _, _, used = os.wait4(server.pid, 0)
    server.returncode = 0
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
