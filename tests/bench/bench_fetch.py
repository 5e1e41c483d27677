"""How much of the fetching of images hides behind their segmentation.

    python -m tests.bench.bench_fetch [--tasks 48] [--latency-s 0.3] [--model-s 0.1]

A server that takes its time for every image, and a segmenter that sleeps for every
image, in one `/predict`: the time for both against the time for each alone. One
after the other would take the sum; the larger of the two is the floor.
"""

import argparse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from statistics import median
from time import perf_counter, sleep

from rich.console import Console
from rich.table import Table

from backend.images import ImageFetcher
from backend.label_studio import parse_predict
from backend.types import LabelStudioAccess
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    encoded,
    make_predictor,
    striped,
)
from tests.web_server import running_web_server, send

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--latency-s", type=float, default=0.3)
    parser.add_argument("--model-s", type=float, default=0.1)
    asked = parser.parse_args()

    seconds: dict[str, list[float]] = {"fetching": [], "model": [], "both": []}
    for _ in range(ROUNDS):
        seconds["fetching"].append(_predict(asked.tasks, asked.latency_s, 0))
        seconds["model"].append(_predict(asked.tasks, 0, asked.model_s))
        seconds["both"].append(_predict(asked.tasks, asked.latency_s, asked.model_s))
    each = {name: median(values) for name, values in seconds.items()}

    table = Table(title=f"{asked.tasks} tasks, {asked.latency_s} s an image to fetch")
    table.add_column("what takes time")
    table.add_column("s", justify="right")
    table.add_column("x the larger of the two", justify="right")
    floor = max(each["fetching"], each["model"])
    for name, value in each.items():
        table.add_row(name, f"{value:.2f}", f"{value / floor:.2f}")
    one_by_one = asked.tasks * (asked.latency_s + asked.model_s)
    table.add_row(
        "one after the other", f"{one_by_one:.2f}", f"{one_by_one / floor:.2f}"
    )
    Console().print(table)


def _predict(n_tasks: int, latency_s: float, model_s: float) -> float:
    def respond(body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            sleep(latency_s)
            send(handler, body, status=200, headers=None)

        return answer

    with running_web_server() as server:
        tasks = []
        for number in range(n_tasks):
            path = f"/{number}.png"
            image = striped("red", "blue", size_yx=(8, 8 + number))
            server.route(path, respond(encoded(image)))
            tasks.append({"id": number, "data": {"image": server.url + path}})
        fetcher = ImageFetcher(image_hosts=[f"127.0.0.1:{server.port}"])
        predictor = make_predictor(
            ColourSegmenter(lambda pixels: sleep(model_s)), fetcher=fetcher
        )
        request = parse_predict({"tasks": tasks, "label_config": RED_AND_BLUE})
        start = perf_counter()
        answers = predictor.predict(request, LabelStudioAccess(url=None))
        spent = perf_counter() - start
    if not all(answers):
        raise SystemExit("some tasks have no prediction")
    return spent


if __name__ == "__main__":
    main()
