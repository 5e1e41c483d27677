"""Whole projects pre-annotated by real processes, some of which do not live to see it.

Workers sleep instead of computing (`tests/sleeping_worker.py`), so that two cores can
show what several of them do; queue, cache, Label Studio and command are real.
"""

import itertools
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from typer.testing import CliRunner

from backend.cli import build_app
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.processes import (
    ARTIFACTS_DIR,
    REPOSITORY,
    child_environment,
    running,
)
from tests.fakes import RED_AND_BLUE, data_uri, encoded

_START_TIMEOUT_S: Final = 60
_RUN_TIMEOUT_S: Final = 180
_POLL_S: Final = 0.1
# Of a command that has listed all tasks and seen the worker: it can be left.
WATCHED: Final = "(1 worker)"
_numbers: Final = itertools.count(1)
_pictures: Final = itertools.count()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command(subprocess.Popen[str]):
    """A `diffsegmenter preannotate` under way; what it says is collected in a file."""

    _under_way: ClassVar[list["Command"]] = []

    def __init__(self, arguments: Sequence[str], log_path: Path, **how: Any) -> None:
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("w") as log:
            super().__init__(
                arguments,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A shell may have started the tests with SIGINT ignored.
                preexec_fn=_heed_interrupts,
                **how,
            )
        self._under_way.append(self)

    @property
    def said(self) -> str:
        """Everything that it has said so far."""
        return self.log_path.read_text(errors="replace")

    def wait_until_said(self, text: str) -> None:
        """Wait until it says something; it must not end before."""

        def is_said() -> bool:
            has_ended = self.poll() is not None
            assert text in self.said or not has_ended, self.said
            return text in self.said

        wait_until(is_said)

    @classmethod
    def end_all(cls) -> None:
        """Kill those that a test has left behind."""
        while cls._under_way:
            command = cls._under_way.pop()
            command.kill()
            command.wait()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A project of small pictures, and the environment of all that works on it."""

    api: LabelStudioApi
    project_id: int
    environment: Mapping[str, str]

    def start(self, *options: str) -> Command:
        """Begin `diffsegmenter preannotate`."""
        name = f"preannotate-{self.project_id}-{next(_numbers)}.log"
        return Command(
            [
                *(sys.executable, "-m", "backend.cli", "preannotate"),
                *("--project", str(self.project_id), *options),
            ],
            ARTIFACTS_DIR / name,
            cwd=REPOSITORY,
            env=child_environment(self.environment),
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, status: int = 0) -> str:
        """What `diffsegmenter preannotate` says, run to its end in this process."""
        result = CliRunner().invoke(
            build_app(),
            ["preannotate", "--project", str(self.project_id), *options],
            env=dict(self.environment),
            catch_exceptions=False,
        )
        assert result.exit_code == status, result.output
        return result.output

    def wait_until_stored(self, least: int) -> None:
        """Wait until so many predictions are in Label Studio."""
        wait_until(lambda: len(self.predictions()) >= least)

    def predictions(self) -> list[dict[str, Any]]:
        """All predictions of the project."""
        return self.api.predictions_of_project(self.project_id)

    def assert_each_once(self) -> None:
        """Every task has exactly one prediction, and all are of one version."""
        predictions = self.predictions()
        per_task = Counter(row["task"] for row in predictions)
        tasks = {task["id"] for task in self.api.tasks(self.project_id)}
        assert set(per_task) == tasks, f"{len(tasks - set(per_task))} are missing"
        twice = {task: count for task, count in per_task.items() if count > 1}
        assert not twice, f"stored more than once: {twice}"
        assert len({row["model_version"] for row in predictions}) == 1


def new_batch(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    n_tasks: int,
    *,
    cache_dir: Path,
    redis_url: str | None = None,
    **environment: str,
) -> Batch:
    """Make a project of so many tasks, each with a picture that no other has.

    What another project had read would be in the cache, and done before a test can
    change anything.

    Args:
        api: Label Studio.
        label_studio: the same.
        n_tasks: how many.
        cache_dir: for the embedded cache, in use when there is no `redis_url`.
        redis_url: for cache and queue.
        environment: further settings.
    """
    project_id = api.create_project("batch", RED_AND_BLUE)
    if n_tasks:
        api.import_many(
            project_id, [{"image": picture(next(_pictures))} for _ in range(n_tasks)]
        )
    settings = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        "CACHE_DIR": str(cache_dir),
        "REDIS_URL": redis_url or "",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **environment,
    }
    return Batch(api=api, project_id=project_id, environment=settings)


def picture(number: int) -> str:
    """A small picture, half red, that no other number gives."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:, :16, 0] = 255
    pixels[0, 0] = [number // 65536 % 256, number // 256 % 256, number % 256]
    return data_uri(encoded(pixels))


@contextmanager
def running_worker(
    environment: Mapping[str, str], *, log_path: Path, sleep_s: float = 0.1
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a worker that sleeps `sleep_s` per picture; enter once it takes jobs."""
    with running(
        [sys.executable, "-m", "tests.sleeping_worker"],
        environment={**environment, "SLEEP_S": str(sleep_s)},
        log_path=log_path,
        is_ready=lambda: "Ready for jobs" in log_path.read_text(errors="replace"),
        timeout_s=_START_TIMEOUT_S,
    ) as process:
        yield process


def wait_until(is_so: Callable[[], bool], timeout_s: float = _RUN_TIMEOUT_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {timeout_s:.0f} s"
        time.sleep(_POLL_S)


def finished(command: Command, *, status: int = 0) -> str:
    """What a command said that ended as it should."""
    command.wait(timeout=_RUN_TIMEOUT_S)
    assert command.returncode == status, command.said
    return command.said


def ids_of(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Task ids as `--tasks` takes them."""
    return ",".join(str(task["id"]) for task in tasks)
