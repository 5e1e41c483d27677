"""What an answer costs that is known: `python -m tests.bench.bench_answers`.

    git worktree add --detach BASE b789f02 && make -C BASE dev
    python -m tests.bench.bench_answers --baseline BASE

`diffsegmenter serve` with the pocket model and a real Redis, all defaults but
OMP_NUM_THREADS=1. The same `/predict` of one task again and again, its picture (a JPEG)
in a data: address, its controls brushes. CPU is what the server's worker process used
by /proc, over its requests; medians of rounds that take turns with the baseline's and
with a Flask application that reads the same body and answers with a few bytes.
Requests/s are of one client, each request on a connection of its own.

Below: one region of 26 kB of run lengths, checked and written, beside the SDK's check
and the standard library's JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

import httpx
import numpy as np
import orjson
from flask import Flask, jsonify, request
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from backend.label_config import read_label_config
from backend.regions.rle import encode_rle
from backend.types import CutOptions
from tests.bench.http_load import post_json, wait_until_ready
from tests.bench.process_usage import children, cpu_s
from tests.e2e.backend_process import running_backend
from tests.e2e.processes import LOOPBACK, REPOSITORY, answers, free_port, running
from tests.fakes import brush_config, data_uri, defaults_of, encoded
from tests.redis_server import running_redis

LABELS: Final = ("cat", "dog", "tree", "house", "car")
# Columns, rows, labels.
PICTURES: Final = {
    "320 x 240": ((240, 320), 3),
    "1080p": ((1080, 1920), 5),
    "12 MP": ((3000, 4000), 5),
}
ROUNDS: Final = 5

hello = Flask(__name__)


@hello.post("/predict")
def _hello() -> Any:
    assert request.get_json()["tasks"]
    return jsonify({"results": [{"result": []}]})


@hello.get("/health")
def _health() -> Any:
    return jsonify({"model": "ready"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, help="a checkout of an older commit")
    parser.add_argument("--seconds", type=float, default=2, help="per server and round")
    asked = parser.parse_args()
    console = Console(width=150)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sources = {"now": REPOSITORY}
        if asked.baseline:
            sources["baseline"] = asked.baseline.resolve()
        servers = {
            name: stack.enter_context(_served(source, place / name))
            for name, source in sources.items()
        }
        servers["hello"] = stack.enter_context(_said_hello(place / "hello"))
        for url, _ in servers.values():
            wait_until_ready(url)
        console.print(_known(servers, asked.seconds))
    console.print(_one_region())


@contextmanager
def _served(source: Path, place: Path) -> Iterator[tuple[str, int]]:
    """The address of a backend, and the process that answers."""
    with (
        running_redis() as redis,
        running_backend(
            cache_dir=place,
            log_path=place / "serve.log",
            redis_url=redis.url,
            environment={"OMP_NUM_THREADS": "1"},
            source=source,
        ) as server,
    ):
        (worker,) = children(server.process.pid)
        yield server.url, worker


@contextmanager
def _said_hello(place: Path) -> Iterator[tuple[str, int]]:
    url = f"http://{LOOPBACK}:{free_port()}"
    options = ["--worker-class", "gthread", "--threads", "8", "--no-control-socket"]
    with running(
        [
            *(sys.executable, "-m", "gunicorn", "tests.bench.bench_answers:hello"),
            *("--bind", url.removeprefix("http://"), *options),
        ],
        environment={},
        log_path=place / "hello.log",
        is_ready=lambda: answers(f"{url}/health"),
        timeout_s=60,
    ) as process:
        (worker,) = children(process.pid)
        yield url, worker


def _known(servers: dict[str, tuple[str, int]], seconds: float) -> Table:
    names = [name for name in servers if name != "now"]
    table = Table(box=box.MARKDOWN, title="The same `/predict` again")
    table.add_column("picture")
    for name in (
        "first CPU ms",
        "CPU ms",
        *(f"{name} CPU ms" for name in names),
        *(f"of {name}'s CPU" for name in names),
        "requests/s",
        *(f"times {name}'s" for name in names),
    ):
        table.add_column(name, justify="right")
    for name, (size_yx, n_labels) in PICTURES.items():
        body = _body(size_yx, n_labels)
        first_ms, found = {}, {}
        for server, (url, worker) in servers.items():
            before = cpu_s(worker)
            found[server] = httpx.post(f"{url}/predict", json=body, timeout=120).json()
            first_ms[server] = (cpu_s(worker) - before) * 1e3
        if "baseline" in found:
            assert _masks(found["now"]) == _masks(found["baseline"])
        cpu_ms, per_s = _rounds(servers, body, seconds)
        table.add_row(
            name,
            f"{first_ms['now']:.0f}",
            f"{cpu_ms['now']:.2f}",
            *(f"{cpu_ms[other]:.2f}" for other in names),
            *(f"{cpu_ms['now'] / cpu_ms[other]:.4f}" for other in names),
            f"{per_s['now']:.0f}",
            *(f"{per_s['now'] / per_s[other]:.2f}" for other in names),
        )
    return table


def _rounds(
    servers: dict[str, tuple[str, int]], asked: dict[str, Any], seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of CPU of a request, and requests a second, of each server."""
    body = json.dumps(asked).encode()
    cpu_ms: dict[str, list[float]] = {name: [] for name in servers}
    per_s: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, (url, worker) in servers.items():
            before = cpu_s(worker)
            n_asked, spent_s = _ask_again(url, body, seconds)
            cpu_ms[name].append((cpu_s(worker) - before) / n_asked * 1e3)
            per_s[name].append(n_asked / spent_s)
    return (
        {name: median(found) for name, found in cpu_ms.items()},
        {name: median(found) for name, found in per_s.items()},
    )


def _ask_again(url: str, body: bytes, seconds: float) -> tuple[int, float]:
    """How many requests were answered, and in how many seconds."""
    start, n_asked = perf_counter(), 0
    while (spent_s := perf_counter() - start) < seconds:
        assert post_json(url, body)["results"]
        n_asked += 1
    return n_asked, spent_s


def _body(size_yx: tuple[int, int], n_labels: int) -> dict[str, Any]:
    scene = Image.open(REPOSITORY / "docs" / "scene.png").convert("RGB")
    picture = encoded(scene.resize(size_yx[::-1]), "JPEG")
    labels = "".join(f'<Label value="{label}"/>' for label in LABELS[:n_labels])
    address = data_uri(picture, "image/jpeg")
    return {
        "tasks": [{"id": 1, "data": {"image": address}}],
        "label_config": brush_config(labels),
        "project": "1.1795346673",
    }


def _masks(answer: Any) -> Any:
    """All but the version and the scores, which tell commits apart."""
    return [
        {name: told for name, told in region.items() if name != "score"}
        for one in answer["results"]
        for region in one["result"]
    ]


def _one_region() -> Table:
    table = Table(box=box.MARKDOWN, title="A region of 26 kB of run lengths")
    for name in ("step", "ms", "before", "ratio"):
        table.add_column(name, justify="left" if name == "step" else "right")
    config = read_label_config(
        brush_config('<Label value="cat"/>'), defaults_of(CutOptions(threshold_01=0.5))
    )
    prediction = {"score": 0.5, "result": [_region()]}
    sdk = config._interface.validate_prediction
    assert sdk(prediction, return_errors=True) == config.problems(prediction) == []
    for step, ours, before in (
        (
            "strict validation",
            lambda: config.problems(prediction),
            lambda: sdk(prediction, return_errors=True),
        ),
        (
            "JSON",
            lambda: orjson.dumps(prediction, option=orjson.OPT_SORT_KEYS),
            lambda: json.dumps(prediction, ensure_ascii=False, sort_keys=True),
        ),
    ):
        now_ms, before_ms = _alternating([ours, before])
        table.add_row(
            step, f"{now_ms:.3f}", f"{before_ms:.3f}", f"{now_ms / before_ms:.3f}"
        )
    return table


def _region() -> dict[str, Any]:
    random = np.random.default_rng(0)
    mask = np.zeros((3000, 4000), np.bool_)
    mask[500:2500] = random.random((2000, 4000)) < 0.00062
    rle = encode_rle(mask)
    assert 25_000 < len(rle) < 27_000, len(rle)
    value = {"format": "rle", "rle": rle, "brushlabels": ["cat"]}
    place = {"from_name": "tag", "to_name": "image", "type": "brushlabels"}
    return {"id": "a", "score": 0.5, "value": value, **place}


def _alternating(
    calls: Sequence[Callable[[], object]], rounds: int = 101
) -> list[float]:
    """The median of each, in milliseconds of CPU."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, mine in zip(calls, spent, strict=True):
            start = process_time()
            call()
            mine.append(process_time() - start)
    return [median(mine) * 1e3 for mine in spent]


if __name__ == "__main__":
    main()
