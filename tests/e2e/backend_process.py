"""The backend as an operator runs it: a process of its own, set by environment."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import (
    LOOPBACK,
    REPOSITORY,
    answers,
    free_port,
    running,
)

# The pocket model loads in seconds; a busy machine of two cores is allowed for.
_START_TIMEOUT_S: Final = 120
_PREDICT_TIMEOUT_S: Final = 120


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A running backend.

    Attributes:
        log_path: what it has logged so far.
    """

    url: str
    log_path: Path

    @property
    def log(self) -> str:
        """Everything that it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST as Label Studio does; returns the JSON of a 2xx answer."""
        answer = httpx.post(f"{self.url}{path}", json=body, timeout=_PREDICT_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def metric(self, name: str) -> float:
        """A counter's value at `/metrics`, summed over its labels."""
        text = httpx.get(f"{self.url}/metrics", timeout=10).raise_for_status().text
        samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]
        if not samples:
            raise LookupError(f"/metrics has no {name!r}; it says:\n{text[:3000]}")
        return sum(sample.value for sample in samples)


@dataclass(frozen=True, kw_only=True)
class ServedBackend(Backend):
    """A backend whose processes can be reached."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill all of it at once, as a machine that loses its power would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running_backend(
    *,
    cache_dir: Path,
    log_path: Path,
    label_studio_url: str | None = None,
    token: str | None = None,
    redis_url: str | None = None,
    port: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    source: Path = REPOSITORY,
) -> Iterator[ServedBackend]:
    """Run `diffsegmenter serve` with the pocket model.

    Args:
        cache_dir: for the embedded cache, in use when there is no `redis_url`.
        log_path: where the server's output goes.
        label_studio_url: where images are read; None leaves it to `/setup`.
        token: a legacy token or a personal access token; None leaves it to `/setup`.
        redis_url: a Redis for the cache.
        port: None takes a free one.
        environment: further settings.
        source: a checkout of this repository, or of an older commit of it, with a
            `.venv` of its own where that needs other packages.
    """
    port = port or free_port()
    settings = {
        "MODEL": "pocket",
        "HOST": LOOPBACK,
        "PORT": str(port),
        "CACHE_DIR": str(cache_dir),
        "LABEL_STUDIO_URL": label_studio_url,
        "LABEL_STUDIO_API_KEY": token,
        "REDIS_URL": redis_url,
        **environment,
    }
    url = f"http://{LOOPBACK}:{port}"
    user, password = (environment.get(f"BASIC_AUTH_{n}") for n in ("USER", "PASS"))
    auth = (user, password) if user and password else None
    with running(
        [python_of(source), "-m", "backend.cli", "serve"],
        environment={k: v for k, v in settings.items() if v is not None},
        log_path=log_path,
        is_ready=lambda: answers(f"{url}/health", auth),
        timeout_s=_START_TIMEOUT_S,
        folder=source,
    ) as process:
        yield ServedBackend(url=url, log_path=log_path, process=process)


def python_of(source: Path) -> str:
    own = source / ".venv" / "bin" / "python"
    return str(own) if source != REPOSITORY and own.exists() else sys.executable
