"""Bring up docker/compose.yaml, pre-annotate a project in it, restart Redis meanwhile.

    make containers

Needs root, buildah, podman, runc and debootstrap, which the target installs on Debian.
What it looks at: images are built and small, all services come up and say that they
are healthy, the backend is nobody special on a file system that it cannot write to, a
worker gives every task exactly one prediction although Redis is restarted in between,
its masks are those that this very checkout paints, and all stop when they are asked.
"""

import io
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from PIL import Image

from segmenter import load_segmenter
from segmenter.pocket.scenes import TEST_SEED_START, Scene, render_scene
from tests.containers.images import BACKEND, build_images, size_bytes
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.processes import LOOPBACK, REPOSITORY, answers, free_port

_COMPOSE: Final = REPOSITORY / "docker" / "compose.yaml"
_PODMAN_COMPOSE: Final = REPOSITORY / ".venvs" / "containers" / "bin" / "podman-compose"
_PROJECT: Final = "diffsegmenter-trial"
_N_TASKS: Final = 120
# One of so many tasks is painted here as well.
_COMPARED: Final = 6
_LARGEST_IMAGE_BYTES: Final = 1_200_000_000
_START_TIMEOUT_S: Final = 300
# Debian's podman: with runc, without systemd, and with limits that need no right to
# raise them.
_PODMAN_CONFIGURATION: Final = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Compose:
    """podman-compose with our file, a project of its own, and free ports."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Run one of its commands; what it says."""
        command = [
            *(str(_PODMAN_COMPOSE), "--file", str(_COMPOSE)),
            *("--project-name", _PROJECT, "--profile", "workers", *arguments),
        ]
        done = subprocess.run(
            command,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            sys.exit(
                f"`{' '.join(arguments)}` ended with status {done.returncode}:\n"
                f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def run_in(self, service: str, *command: str, check: bool = True) -> str:
        """What a command says that is run in a service's container."""
        return self("exec", "-T", service, *command, check=check)

    def state(self, service: str) -> dict[str, Any]:
        """What podman knows of a service's container."""
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={_PROJECT}"
        listed = ["podman", "ps", "--all", "--quiet", "--filter", label]
        container = subprocess.check_output([*listed, "--filter", project], text=True)
        inspected = subprocess.check_output(["podman", "inspect", container.strip()])
        state: dict[str, Any] = json.loads(inspected)[0]["State"]
        return state


def main() -> None:
    """Build, bring up, look, take down."""
    build_images(os.environ.get("TORCH_INDEX", ""))
    token = secrets.token_hex(20)
    ports = {"LABEL_STUDIO_PORT": str(free_port()), "BACKEND_PORT": str(free_port())}
    with _services(token, ports) as compose:
        _look_at_the_backend(compose)
        label_studio = f"http://{LOOPBACK}:{ports['LABEL_STUDIO_PORT']}"
        _wait_until("Label Studio is up", lambda: answers(f"{label_studio}/health"))
        with api_with_legacy_token(label_studio, token) as api:
            _pre_annotate(compose, api)
        _stop(compose)


@contextmanager
def _services(token: str, ports: dict[str, str]) -> Iterator[Compose]:
    """All services, with the bundled model, until the block ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as configuration:
        configuration.write(_PODMAN_CONFIGURATION)
        configuration.flush()
        compose = Compose(
            {
                **ports,
                "CONTAINERS_CONF": configuration.name,
                "MODEL": "pocket",
                "LABEL_STUDIO_API_KEY": token,
                "LABEL_STUDIO_PASSWORD": secrets.token_hex(12),
            }
        )
        try:
            started = time.monotonic()
            compose("up", "--detach", "--no-build")
            backend = f"http://{LOOPBACK}:{ports['BACKEND_PORT']}"
            _wait_until("the backend is up", lambda: answers(f"{backend}/health"))
            _say(f"the backend answers {time.monotonic() - started:.0f} s after `up`")
            yield compose
        except BaseException:
            _say(compose("logs", "--tail", "40", check=False)[-6000:])
            raise
        finally:
            compose("down", "--volumes", check=False)


def _look_at_the_backend(compose: Compose) -> None:
    """How large it is, who it is, what it can write, and whether it says it is well."""
    size = size_bytes(BACKEND)
    cuda = "import torch; print(torch.version.cuda)"
    has_cuda = compose.run_in("backend", "python", "-c", cuda).strip() != "None"
    _say(f"the backend's image takes {size / 1e6:,.0f} MB{' with CUDA' * has_cuda}")
    assert has_cuda or size < _LARGEST_IMAGE_BYTES
    for service in ("backend", "worker"):
        assert compose.run_in(service, "id", "-u").strip() == "10001", service
        for path in ("/opt/diffsegmenter", "/home/diffsegmenter", "/etc", "/usr"):
            script = f"touch {path}/new 2>/dev/null && echo written || echo refused"
            assert compose.run_in(service, "sh", "-c", script).strip() == "refused"
        capabilities = compose.run_in(service, "grep", "CapBnd", "/proc/self/status")
        assert int(capabilities.split()[1], 16) == 0, capabilities
    compose.run_in("backend", "python", "/etc/diffsegmenter/healthcheck.py")
    _say("uid 10001, no capability, nothing writable but cache and /tmp; healthy")


def _pre_annotate(compose: Compose, api: LabelStudioApi) -> None:
    """A project by the worker, with Redis away for a moment in the middle."""
    scenes = [render_scene(TEST_SEED_START + number) for number in range(_N_TASKS)]
    words = sorted({word for scene in scenes for word in scene.words})
    labels = "".join(f'<Label value="{word}"/>' for word in words)
    project_id = api.create_project(
        "Containers",
        f'<View><Image name="image" value="$image"/><BrushLabels name="mask" '
        f'toName="image">{labels}</BrushLabels></View>',
    )
    connected = api.connect_backend(project_id, "http://backend:9090")
    assert connected["state"] == "CO", connected
    tasks = api.import_tasks(
        project_id,
        [
            {"image": api.upload_file(project_id, f"{number}.png", _png(scene))}
            for number, scene in enumerate(scenes)
        ],
    )
    _say(f"{len(tasks)} tasks, {len(words)} labels")

    with ThreadPoolExecutor() as pool:
        run = pool.submit(
            compose.run_in,
            *("backend", "diffsegmenter", "preannotate"),
            *("--project", str(project_id)),
        )
        _wait_until(
            "some tasks are done",
            lambda: len(api.predictions_of_project(project_id)) > 0 or run.done(),
        )
        before = len(api.predictions_of_project(project_id))
        compose("restart", "redis")
        _say(f"Redis restarted with {before} of {len(tasks)} tasks done")
        said = run.result()
    assert before < len(tasks), "all was done before Redis was restarted: more tasks"
    _say(said.strip().splitlines()[-1])

    _compare(api, project_id, tasks, scenes, words)


def _compare(
    api: LabelStudioApi,
    project_id: int,
    tasks: Sequence[dict[str, Any]],
    scenes: Sequence[Scene],
    words: Sequence[str],
) -> None:
    """Every task has one prediction, whose masks are those of this checkout."""
    by_task: dict[int, list[dict[str, Any]]] = {}
    for prediction in api.predictions_of_project(project_id):
        by_task.setdefault(prediction["task"], []).append(prediction)
    assert {task["id"] for task in tasks} == set(by_task), "tasks without a prediction"
    assert all(len(found) == 1 for found in by_task.values()), "tasks with several"

    segmenter = load_segmenter("pocket")
    overlaps: list[float] = []
    for task, scene in list(zip(tasks, scenes, strict=True))[::_COMPARED]:
        (prediction,) = by_task[task["id"]]
        (here,) = segmenter.segment([scene.image], [words])
        overlaps += [
            intersection_over_union(
                label_mask(prediction, word, scene.image.shape[:2]), here.mask(index)
            )
            for index, word in enumerate(words)
            if here.mask(index).any()
        ]
    # What a segmenter returns is not rounded for a cache, and keeps its specks.
    assert np.median(overlaps) > 0.99, np.median(overlaps)
    assert np.mean(overlaps) > 0.97, np.mean(overlaps)
    _say(
        f"one prediction each; {len(overlaps)} masks, overlap with this checkout's: "
        f"median {np.median(overlaps):.4f}, mean {np.mean(overlaps):.4f}"
    )


def _stop(compose: Compose) -> None:
    """Ask ours to stop: they end by themselves, before they are killed."""
    started = time.monotonic()
    compose("stop", "worker", "backend")
    for service in ("worker", "backend"):
        status = compose.state(service)
        assert status["Running"] is False, service
        assert status["ExitCode"] in (0, 143), (service, status)
    _say(f"worker and backend stopped in {time.monotonic() - started:.1f} s")


def _png(scene: Scene) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene.image).save(file, "PNG")
    return file.getvalue()


def _wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not after {_START_TIMEOUT_S} s")
        time.sleep(0.5)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
