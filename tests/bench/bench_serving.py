"""What a server takes and keeps: requests per second, memory, and the same asked twice.

    python -m tests.bench.bench_serving [--seconds 3]

`diffsegmenter serve` with the pocket model and a real Redis, all defaults but
OMP_NUM_THREADS=1 and no room for finished answers. The clients run on the same cores as
the server and take a part of them. Each asks again as soon as it is answered.

Cached: one picture of 320 x 240 (JPEG, as a data: address), three labels with brush
masks; the cache holds its maps, so the model rests and what is left is to be decoded,
cut, drawn, checked and sent. Every request has a connection of its own, as Label
Studio 1.23's have: it makes a `requests.Session` for each call of a backend and never
uses it twice. The last column is with connections that stay open. `/health` is asked
twenty times a second beside the load; Label Studio takes a backend for dead that does
not answer it within a second.

Memory: resident memory of gunicorn's worker process by /proc, with eight clients and
pictures of 64 x 48: what grows with requests does so with small ones, and sooner. The
first hundreds let malloc's arenas grow, one a thread; a leak would go on.

The same at once: how often the model runs, when a task that is new to all is asked for
by eight at the same moment; of two servers on one Redis, and through Label Studio,
which asks its backend for each of those who open the task, and stores what each is
answered.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.http_load import (
    Load,
    at_once,
    for_seconds,
    load,
    one_by_one,
    probing,
    wait_until_ready,
)
from tests.bench.process_usage import children, rss_bytes
from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.label_studio import LabelStudio, running_label_studio
from tests.e2e.label_studio_api import api_with_legacy_token
from tests.e2e.processes import REPOSITORY
from tests.fakes import brush_config, data_uri, encoded
from tests.redis_server import running_redis

CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64)
CACHED: Final = (0, 500, 1000, 2500, 5000, 10_000)
UNCACHED: Final = (500, 1000, 2000)
OPENINGS: Final = 8
ROUNDS: Final = 5
PICTURE_YX: Final = (240, 320)
SMALL_PICTURE_YX: Final = (48, 64)
CONFIG: Final = brush_config(
    "".join(f'<Label value="{label}"/>' for label in ("cat", "dog", "tree"))
)
_numbers: Final = count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=3, help="per number of clients"
    )
    asked = parser.parse_args()
    console = Console(width=150)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        label_studio = stack.enter_context(
            running_label_studio(folder=place / "data", log_path=place / "ls.log")
        )
        redis = stack.enter_context(running_redis())
        servers = [
            stack.enter_context(
                running_backend(
                    cache_dir=place / f"cache-{number}",
                    log_path=place / f"serve-{number}.log",
                    redis_url=redis.url,
                    # Finished answers are bench_answers.py's.
                    environment={
                        "OMP_NUM_THREADS": "1",
                        "ANSWER_MEMORY_BYTES": "0",
                        "ANSWER_CACHE_BYTES": "0",
                    },
                )
            )
            for number in range(2)
        ]
        for server in servers:
            wait_until_ready(server.url)
        console.print(_rates(servers[0], asked.seconds))
        console.print(_memory(servers[0]))
        console.print(_same_at_once(servers, label_studio))


def _rates(server: Backend, seconds: float) -> Table:
    table = Table(box=box.MARKDOWN, title="Cached `/predict` of one task")
    for name in (
        "clients",
        "requests/s",
        "median ms",
        "p95 ms",
        "`/health` p95 ms",
        "longest",
        "requests/s, kept alive",
    ):
        table.add_column(name, justify="right")
    body = _body(_picture(PICTURE_YX, "JPEG"))
    server.post("/predict", body)
    before = server.metric("diffsegmenter_images_segmented_total")
    for n_clients in CLIENTS:
        with probing(server.url) as health:
            new = load(server.url, for_seconds(body, seconds), n_clients=n_clients)
        kept = load(
            server.url,
            for_seconds(body, seconds / 2),
            n_clients=n_clients,
            keeps_alive=True,
        )
        healthy = Load(latencies_s=sorted(health), spent_s=seconds)
        table.add_row(
            str(n_clients),
            f"{new.per_s:.0f}",
            f"{new.at(0.5) * 1e3:.0f}",
            f"{new.at(0.95) * 1e3:.0f}",
            f"{healthy.at(0.95) * 1e3:.0f}",
            f"{healthy.at(1) * 1e3:.0f}",
            f"{kept.per_s:.0f}",
        )
    assert server.metric("diffsegmenter_images_segmented_total") == before
    return table


def _memory(server: Backend) -> Table:
    (worker,) = children(server.process.pid)
    table = Table(box=box.MARKDOWN, title="Resident memory of the server's worker")
    table.add_column("after")
    for name in ("MB", "MB more per 1,000 requests"):
        table.add_column(name, justify="right")
    cached = _body(_picture(SMALL_PICTURE_YX, "JPEG"))
    for what, marks, bodies in (
        ("cached requests", CACHED, iter(partial(_same, cached), None)),
        ("uncached pictures", (0, *UNCACHED), _new_small_bodies()),
    ):
        done, before = 0, 0.0
        for mark in marks:
            n_more = mark - done
            if n_more:
                bodies_now = one_by_one(islice(bodies, n_more))
                load(server.url, bodies_now, n_clients=OPENINGS)
            now = rss_bytes(worker) / 1e6
            growth = f"{(now - before) / n_more * 1000:.2f}" if n_more else ""
            table.add_row(f"{mark:,} {what}", f"{now:.1f}", growth)
            done, before = mark, now
    return table


def _same_at_once(servers: list[Backend], label_studio: LabelStudio) -> Table:
    table = Table(
        box=box.MARKDOWN,
        title=f"{OPENINGS} at the same moment, each row {ROUNDS} new tasks",
    )
    table.add_column("asked by")
    for name in ("inferences per task", "predictions stored per task"):
        table.add_column(name, justify="right")

    def inferences() -> int:
        name = "diffsegmenter_images_segmented_total"
        return round(sum(server.metric(name) for server in servers))

    each = []
    for _ in range(ROUNDS):
        before, body = inferences(), _body(_picture(PICTURE_YX, "JPEG"))
        at_once(
            [
                partial(servers[place % len(servers)].post, "/predict", body)
                for place in range(OPENINGS)
            ]
        )
        each.append(inferences() - before)
    table.add_row(f"clients of {len(servers)} servers on one Redis", _counts(each), "")
    with api_with_legacy_token(label_studio.url, label_studio.legacy_token) as api:
        project_id = api.create_project("opened at once", CONFIG)
        api.connect_backend(project_id, servers[0].url)
        each, stored, statuses = [], [], set()
        for _ in range(ROUNDS):
            image = _picture(PICTURE_YX, "JPEG")
            (task,) = api.import_tasks(project_id, [{"image": image}])
            before = inferences()
            answers = at_once([partial(_open, label_studio, task["id"])] * OPENINGS)
            statuses |= {answer.status_code for answer in answers}
            each.append(inferences() - before)
            stored.append(len(api.predictions(task["id"])))
    table.add_row(
        f"users who open a task in Label Studio (answers: {sorted(statuses)})",
        _counts(each),
        _counts(stored),
    )
    return table


def _open(label_studio: LabelStudio, task_id: int) -> httpx.Response:
    return httpx.get(
        f"{label_studio.url}/api/tasks/{task_id}",
        headers={"Authorization": f"Token {label_studio.legacy_token}"},
        timeout=120,
    )


def _counts(each: list[int]) -> str:
    return ", ".join(map(str, each))


def _same(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body


def _new_small_bodies() -> Iterator[Mapping[str, Any]]:
    while True:
        yield _body(_picture(SMALL_PICTURE_YX, "PNG"))


def _body(address: str) -> dict[str, Any]:
    return {
        "tasks": [{"id": 1, "data": {"image": address}}],
        "label_config": CONFIG,
        "project": "1.1795346673",
    }


def _picture(size_yx: tuple[int, int], kind: str) -> str:
    """A scene with a cat, a dog and a tree, unlike any other by some pixels."""
    number = next(_numbers)
    scene = Image.open(REPOSITORY / "docs" / "scene.png").convert("RGB")
    pixels = np.array(scene.resize((size_yx[1], size_yx[0])))
    # One cell of JPEG's, so that it outlives the compression.
    pixels[:8, :8] = [number // 4096 * 16, number // 64 % 64 * 4, number % 64 * 4]
    return data_uri(encoded(pixels, kind), f"image/{kind.lower()}")


if __name__ == "__main__":
    main()
