"""How long a webhook waits for its answer: `python -m tests.bench.bench_webhooks`.

    git worktree add --detach BASE 2a5153a && make -C BASE dev
    python -m tests.bench.bench_webhooks --baseline BASE

`diffsegmenter serve` with the pocket model, all defaults but OMP_NUM_THREADS=1, whose
corrections are in a file or in a real Redis. One client sends annotations, each on a
connection of its own, with a short rest after each, while behind them the server does:
nothing (they teach nothing), what each of them asks for (a pass of the model), or a fit
of 1,000 corrected images. Beside them, a request for a prediction that is known. Rounds
take turns with the baseline's, which must read images alike.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import count, islice, product
from pathlib import Path
from typing import Any, Final

import cv2
import httpx
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from backend.engine import build_engine
from backend.feedback import (
    Correction,
    FeedbackLoop,
    FeedbackStore,
    open_feedback_store,
)
from backend.settings import Settings
from backend.types import LabelStudioAccess
from segmenter import SegmenterOptions, make_example
from segmenter.pocket import WORDS, render_scene
from tests.backend.feedback.annotations import annotation, payload, region
from tests.bench.http_load import new_client, wait_until_ready
from tests.bench.pocket_scenes import load_pocket, masks_of
from tests.e2e.backend_process import running_backend
from tests.e2e.processes import REPOSITORY
from tests.fakes import brush_config, data_uri, encoded
from tests.redis_server import running_redis

# Of two masks: length of a side, share of the pixels that are noise.
_BODIES: Final = ((300, 0.0), (1150, 0.08))
# What goes on behind, and how long the client rests meanwhile.
_BEHIND: Final = {"nothing": 0.02, "a pass each": 0.2, "a fit": 0.02}
_POLL_S: Final = 0.05
_PROJECT: Final = 7
_N_SCENES: Final = 20
# Of the training split: what is learned here is not looked at.
_FIRST_SEED: Final = 862_000
_TRAIN: Final = {"action": "START_TRAINING", "project": {"id": _PROJECT}}
_CONFIG: Final = brush_config("".join(f'<Label value="{word}"/>' for word in WORDS))
_numbers: Final = count(1)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A backend, the store that it shares with us, and where its events wait."""

    url: str
    store: FeedbackStore
    queue: str


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--baseline", type=Path, help="a checkout of an older commit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fitted", type=int, default=1000, help="corrected images")
    parser.add_argument("--stores", nargs="+", default=["file", "Redis"])
    parser.add_argument("--seconds", type=float, default=4, help="of a round")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sources = {"now": REPOSITORY}
    if asked.baseline:
        sources["baseline"] = asked.baseline.resolve()
    bodies = [*(_submitted(*size) for size in _BODIES), _known_prediction()]
    examples = list(islice(_examples(), asked.fitted))
    for kind in asked.stores:
        table = Table(title=f"Kept in: {kind}", box=box.SIMPLE)
        for heading in ("behind", "request", "", "requests"):
            table.add_column(heading)
        for heading in ("median ms", "95 %", "99 %", "longest", "within 50 ms"):
            table.add_column(heading, justify="right")
        with ExitStack() as stack:
            servers = {
                name: _served(stack, source, kind, examples)
                for name, source in sources.items()
            }
            for behind, body in product(_BEHIND, bodies):
                if _path(body) == "/predict" and behind == "a pass each":
                    continue  # as with nothing behind
                title = f"{_path(body)}, {len(json.dumps(body)) // 1000} kB"
                waits = _waits(servers, body, behind, asked)
                for name, found in waits.items():
                    row = (behind, title, name, str(len(found)))
                    table.add_row(*row, *_cells(found))
        Console(width=130).print(table)


def _waits(
    servers: Mapping[str, Server],
    body: Mapping[str, Any],
    behind: str,
    asked: argparse.Namespace,
) -> dict[str, list[float]]:
    """By server, how long its requests waited, in seconds."""
    found: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(asked.rounds):
        for name, server in servers.items():
            found[name] += _round(server, body, behind, asked.seconds)
    return found


def _round(
    server: Server, body: Mapping[str, Any], behind: str, seconds: float
) -> list[float]:
    waits_s = []
    before = server.store.heads(str(_PROJECT))
    with new_client(keeps_alive=False) as client:
        if _path(body) == "/predict":
            _send(client, server, body)  # from now on it is known
        if behind == "a fit":
            _send(client, server, _TRAIN)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(_BEHIND[behind])
            sent = _numbered(body, teaches=behind == "a pass each")
            waits_s.append(_send(client, server, sent))
            if behind == "a fit" and server.store.heads(str(_PROJECT)) != before:
                break
    # What is behind ends before the other server's round.
    while server.store.n_events(server.queue):
        time.sleep(_POLL_S)
    return waits_s


def _send(client: httpx.Client, server: Server, body: Mapping[str, Any]) -> float:
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    start = time.perf_counter()
    answer = client.post(f"{server.url}{_path(body)}", content=content, headers=headers)
    waited_s = time.perf_counter() - start
    told = answer.raise_for_status().json()
    if told != {"status": "accepted"} and not told.get("results"):
        raise ValueError(f"{_path(body)} was answered {answer.text}")
    return waited_s


def _submitted(side: int, noise_01: float) -> dict[str, Any]:
    """A webhook about two masks of a picture."""
    rng = np.random.default_rng(0)
    mask = np.zeros((side, side), np.bool_)
    mask[side // 4 : -side // 4, side // 5 : -side // 5] = True
    results = [
        region(
            mask ^ (rng.random(mask.shape) < noise_01),
            label,
            region_id=label,
        )
        for label in WORDS[:2]
    ]
    return payload(
        annotation(results),
        config=_CONFIG,
        data=_data(),
        project_id=_PROJECT,
    )


def _known_prediction() -> dict[str, Any]:
    """A request for what was answered before, of a project that nothing is taught."""
    task = {"id": 1, "data": _data()}
    return {"tasks": [task], "project": "9.1700000000", "label_config": _CONFIG}


def _data() -> dict[str, str]:
    pixels = render_scene(_FIRST_SEED, n_objects=2).image
    return {"image": data_uri(encoded(pixels))}


def _path(body: Mapping[str, Any]) -> str:
    return "/webhook" if "action" in body else "/predict"


def _numbered(body: Mapping[str, Any], *, teaches: bool) -> Mapping[str, Any]:
    """The same of another annotation; a prediction's as it is."""
    if "annotation" not in body:
        return body
    number = next(_numbers)
    about = {"id": number, "was_cancelled": not teaches}
    return {
        **body,
        "annotation": body["annotation"] | about,
        "task": body["task"] | {"id": number},
    }


def _served(
    stack: ExitStack, source: Path, kind: str, examples: Sequence[bytes]
) -> Server:
    """A backend whose project has corrections."""
    place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    redis = stack.enter_context(running_redis()) if kind == "Redis" else None
    url = redis.url if redis else None
    store = stack.enter_context(closing(open_feedback_store(url, place)))
    engine = build_engine(Settings.from_env({"MODEL": "pocket"}))
    assert engine.teacher is not None
    loop = FeedbackLoop.build(
        store=store,
        teacher=engine.teacher,
        predictor=engine.predictor,
        cache=engine.cache,
        access_of=lambda event: LabelStudioAccess(),
    )
    for number, example in enumerate(examples):
        store.put(
            Correction(
                project=str(_PROJECT),
                task=str(number),
                annotation=1_000_000 + number,
                updated_at="2026-12-01T00:00:00Z",
                examples=(example,),
                model=engine.predictor.scorer.maps_name("fast"),
            )
        )
    server = stack.enter_context(
        running_backend(
            cache_dir=place,
            log_path=place / "serve.log",
            redis_url=url,
            environment={"OMP_NUM_THREADS": "1", "LEARN_AFTER": "0"},
            source=source,
        )
    )
    wait_until_ready(server.url)
    return Server(url=server.url, store=store, queue=loop.intake.queue)


def _examples() -> Iterator[bytes]:
    """Different ones, of a few scenes: each with one row of layers blanked."""
    segmenter = load_pocket().segmenter(SegmenterOptions())
    scenes = [render_scene(_FIRST_SEED + number) for number in range(_N_SCENES)]
    read = [segmenter.score([scene.image], [WORDS])[0] for scene in scenes]
    for blanked in count():
        for scene, maps in zip(scenes, read, strict=True):
            assert maps.layers is not None
            layers = maps.layers.copy()
            layers[blanked] = 0
            changed = replace(maps, layers=layers)
            yield make_example(changed, masks_of(scene)).to_bytes()


def _cells(waits_s: Sequence[float]) -> list[str]:
    shares = np.percentile(waits_s, (50, 95, 99, 100)) * 1000
    within = 100 * np.mean(np.array(waits_s) <= 0.05)
    return [*(f"{one:.0f}" for one in shares), f"{within:.0f} %"]


if __name__ == "__main__":
    main()
