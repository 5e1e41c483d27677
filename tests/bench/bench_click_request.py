"""What a click costs the server: `python -m tests.bench.bench_click_request`.

`diffsegmenter serve` with the pocket model, all defaults but OMP_NUM_THREADS=1, a real
Redis, and a web server for the pictures. A task is opened, which is its one pass of the
model; then clicks are asked for as Label Studio 1.23 asks, with the stored prediction
and a draft in each request and a connection of its own for each. CPU is of all
processes of the server's session by /proc, in steps of 10 ms, over all repeats.

Clicks find maps and features of the pass that opened the task; the cold one is on a
picture that nobody has opened. The server itself counts the model's passes.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from segmenter.pocket.scenes import Scene, render_scene
from tests.bench.process_usage import cpu_s_of_session
from tests.e2e.backend_process import ServedBackend, running_backend
from tests.fakes import encoded
from tests.redis_server import running_redis
from tests.web_server import running_web_server

_SEED: Final = 1_000_559
_LABELS: Final = "".join(
    f'<Label value="{label}"/>' for label in ("cat", "dog", "boat", "car", "tree")
)
_CONFIG: Final = (
    '<View><Image name="image" value="$image"/>'
    f'<BrushLabels name="tag" toName="image">{_LABELS}</BrushLabels>'
    f'<KeyPointLabels name="points" toName="image" smart="true">{_LABELS}'
    "</KeyPointLabels></View>"
)
_PASSES: Final = "diffsegmenter_images_segmented_total"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=100)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    table = Table(title=f"A click, {asked.clicks} of each kind")
    for column in ("picture", "what", "CPU ms", "wall ms", "passes"):
        table.add_column(column, justify="right" if column[0] in "CWwp" else "left")
    for size_yx in ((240, 320), (768, 1024)):
        for row in _measured(size_yx, asked.clicks):
            table.add_row(f"{size_yx[1]} x {size_yx[0]}", *row)
    Console().print(table)


def _measured(size_yx: tuple[int, int], n_clicks: int) -> list[Sequence[str]]:
    scene = render_scene(_SEED, n_objects=2, size_yx=size_yx)
    rows: list[Sequence[str]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        web = stack.enter_context(running_web_server())
        backend = stack.enter_context(
            running_backend(
                cache_dir=Path(folder) / "cache",
                log_path=Path(folder) / "log",
                redis_url=redis.url,
                label_studio_url=web.url,
                token="0" * 40,
            )
        )
        first = render_scene(_SEED + 2, n_objects=2, size_yx=size_yx)
        web.serve("/data/upload/1/first.png", encoded(first.image))
        _ask(backend, _task(9, "/data/upload/1/first.png"))  # loads the model
        web.serve("/data/upload/1/opened.png", encoded(scene.image))
        task = _task(1, "/data/upload/1/opened.png")
        rows.append(_row("opening the task", backend, lambda: _open(backend, task), 1))
        (clicked,) = _ask(backend, task)["results"]
        task |= {
            "predictions": [{"id": 1, "result": clicked["result"]}],
            "drafts": [{"id": 2, "updated_at": "1", "result": clicked["result"]}],
        }
        for n_points in (1, 2, 5):
            context = {"result": _points(scene, n_points)}
            rows.append(
                _row(
                    f"{n_points} clicks on one object",
                    backend,
                    lambda context=context: _click(backend, task, context),
                    n_clicks,
                )
            )
        other = render_scene(_SEED + 1, n_objects=2, size_yx=size_yx)
        web.serve("/data/upload/1/cold.png", encoded(other.image))
        cold = _task(3, "/data/upload/1/cold.png")
        context = {"result": _points(scene, 1)}
        rows.append(
            _row(
                "a click, not opened before",
                backend,
                lambda: _click(backend, cold, context),
                1,
            )
        )
    return rows


def _row(what: str, backend: ServedBackend, ask: Any, times: int) -> Sequence[str]:
    passes = backend.metric(_PASSES)
    cpu_s, start_s = cpu_s_of_session(backend.process.pid), perf_counter()
    for _ in range(times):
        ask()
    wall_s = perf_counter() - start_s
    cpu_s = cpu_s_of_session(backend.process.pid) - cpu_s
    return (
        what,
        f"{1000 * cpu_s / times:.1f}",
        f"{1000 * wall_s / times:.1f}",
        f"{backend.metric(_PASSES) - passes:.0f}",
    )


def _task(number: int, address: str) -> dict[str, Any]:
    return {"id": number, "data": {"image": address}}


def _ask(
    backend: ServedBackend, task: Mapping[str, Any], context: Any = None
) -> dict[str, Any]:
    body = {
        "tasks": [task],
        "project": "1.1795346673",
        "label_config": _CONFIG,
        "params": {"login": None, "password": None, "context": context},
    }
    answer: dict[str, Any] = backend.post("/predict", body)
    return answer


def _open(backend: ServedBackend, task: Mapping[str, Any]) -> None:
    if not _ask(backend, task)["results"][0]:
        raise SystemExit(f"The task has no prediction:\n{backend.log[-2000:]}")


def _click(backend: ServedBackend, task: Mapping[str, Any], context: Any) -> None:
    if not _ask(backend, task, context)["results"][0]["result"]:
        raise SystemExit(f"The click has no region:\n{backend.log[-2000:]}")


def _points(scene: Scene, count: int) -> list[dict[str, Any]]:
    """Clicks on the cat, the first in its middle, the last of several beside it."""
    cat = scene.visible[scene.words.index("cat")]
    inside = np.argwhere(cat)
    places = [inside[(number * len(inside)) // count] for number in range(count)]
    places[0] = inside[len(inside) // 2]
    rows, columns = cat.shape
    return [
        {
            "id": f"p{number}",
            "type": "keypointlabels",
            "from_name": "points",
            "to_name": "image",
            "origin": "manual",
            "is_positive": True,
            "original_width": columns,
            "original_height": rows,
            "image_rotation": 0,
            "value": {
                "x": 100 * (int(x) + 0.5) / columns,
                "y": 100 * (int(y) + 0.5) / rows,
                "width": 0.3,
                "labels": ["cat"],
                "keypointlabels": ["cat"],
            },
        }
        for number, (y, x) in enumerate(places)
    ]


if __name__ == "__main__":
    main()
