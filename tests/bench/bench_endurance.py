"""Whether a server stays as it is: `python -m tests.bench.bench_endurance`.

`diffsegmenter serve` with the pocket model and a real Redis. The same `/predict` of one
task 10,000 times, its regions known: memory of the worker process on the way. In the
middle Redis is stopped for as many requests, then started again; each answer must be
the first one, whatever Redis does.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.http_load import post_json, wait_until_ready
from tests.bench.process_usage import children, rss_bytes
from tests.e2e.backend_process import running_backend
from tests.fakes import brush_config, data_uri, encoded, striped
from tests.redis_server import running_redis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    asked = parser.parse_args()
    step = asked.requests // 10
    body = _body()
    table = Table(box=box.MARKDOWN)
    for name in ("requests", "Redis", "memory of the worker, MB", "median ms", "most"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder, running_redis() as redis:
        place = Path(folder)
        with running_backend(
            cache_dir=place,
            log_path=place / "serve.log",
            redis_url=redis.url,
            environment={"OMP_NUM_THREADS": "1"},
        ) as server:
            wait_until_ready(server.url)
            (worker,) = children(server.process.pid)
            first = post_json(server.url, body)
            assert first["results"][0]["result"]
            for number in range(1, 11):
                if number == 5:
                    redis.stop()
                if number == 7:
                    redis.start()
                spent_s = []
                for _ in range(step):
                    start = time.perf_counter()
                    assert post_json(server.url, body) == first
                    spent_s.append(time.perf_counter() - start)
                table.add_row(
                    f"{number * step:,}",
                    "away" if number in {5, 6} else "there",
                    f"{rss_bytes(worker) / 1e6:.1f}",
                    *_milliseconds(spent_s),
                )
    Console(width=100).print(table)


def _milliseconds(spent_s: Sequence[float]) -> tuple[str, str]:
    return f"{median(spent_s) * 1e3:.1f}", f"{max(spent_s) * 1e3:.0f}"


def _body() -> bytes:
    picture = data_uri(encoded(striped("red", "green", "blue", size_yx=(240, 320))))
    labels = "".join(f'<Label value="{name}"/>' for name in ("cat", "dog", "tree"))
    config = brush_config(labels, 'model_presence_threshold="0"')
    tasks: list[dict[str, Any]] = [{"id": 1, "data": {"image": picture}}]
    return json.dumps(
        {"tasks": tasks, "label_config": config, "project": "1.2"}
    ).encode()


if __name__ == "__main__":
    main()
