"""Our adapter as a team on label-studio-ml runs it: the library's own commands.

They live in a virtual environment of their own, the release on PyPI among what
`make label-studio-ml` puts there.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.backend_process import Backend
from tests.e2e.processes import (
    LOOPBACK,
    REPOSITORY,
    NotReady,
    answers,
    child_environment,
    free_port,
    running,
)

_PROGRAMS: Final = REPOSITORY / ".venvs" / "label-studio-ml" / "bin"
_PROGRAM: Final = _PROGRAMS / "label-studio-ml"
_MODEL: Final = "from backend.label_studio_ml import DiffSegmenter\n"
_START_TIMEOUT_S: Final = 120


@dataclass(frozen=True, kw_only=True)
class LaunchedModel(Backend):
    """A running model.

    Attributes:
        folder: what `label-studio-ml init` made; trained models would be kept here.
    """

    folder: Path


def run_beside_the_library(program: str, folder: Path) -> str:
    """What a Python program prints that can import label_studio_ml and us."""
    _require_library()
    done = subprocess.run(
        [_PROGRAMS / "python", "-c", program],
        cwd=folder,
        env=child_environment({}),
        check=True,
        timeout=_START_TIMEOUT_S,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@contextmanager
def running_label_studio_ml(
    *, folder: Path, log_path: Path, environment: Mapping[str, str]
) -> Iterator[LaunchedModel]:
    """Write the one line of model.py, then `label-studio-ml init` and `start`.

    Args:
        folder: where it is made; the path must have no spaces, for `start`.
        log_path: where the server's output goes.
        environment: the adapter's settings.
    """
    _require_library()
    # `start` runs the first `python` of the PATH.
    path = f"{_PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    settings = {"MODEL": "pocket", **environment, "PATH": path}
    script = folder / "model.py"
    script.write_text(_MODEL)
    model = LaunchedModel(
        url=f"http://{LOOPBACK}:{free_port()}",
        log_path=log_path,
        folder=folder / "launched",
    )
    subprocess.run(
        [_PROGRAM, "init", model.folder, "--script", script],
        cwd=folder,
        env=child_environment(settings),
        check=True,
        timeout=_START_TIMEOUT_S,
    )
    with running(
        [
            *(str(_PROGRAM), "start", str(model.folder), "--log-level", "INFO"),
            *("--host", LOOPBACK, "--port", model.url.rpartition(":")[2]),
        ],
        environment=settings,
        log_path=log_path,
        is_ready=lambda: answers(f"{model.url}/health"),
        timeout_s=_START_TIMEOUT_S,
    ) as process:
        try:
            yield model
        finally:
            # `start` waits for a shell that waits for the server; a signal to it
            # alone would leave both behind. The group is its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def _require_library() -> None:
    if not _PROGRAM.exists():
        raise NotReady(
            f"There is no {_PROGRAM}. `make label-studio-ml` installs label-studio-ml "
            f"there."
        )
