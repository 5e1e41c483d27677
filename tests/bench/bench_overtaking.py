"""How long a task that somebody opens takes while a batch is at work.

    python -m tests.bench.bench_overtaking

One process, a model that sleeps 0.2 s per image, requests as the server answers them:
one of 200 tasks runs, and every now and then one of a single new task comes along.
Without overtaking it would wait for what the batch has in line, up to 12 images.
"""

import statistics
import threading
import time

from rich.console import Console

from backend.inference import Predictor
from tests.asking import ask
from tests.e2e.batches import picture
from tests.fakes import ColourSegmenter, make_predictor

_SLEEP_S = 0.2
_OPENED = 12
_BATCH = 200


def main() -> None:
    segmenter = ColourSegmenter(before=lambda pixels: time.sleep(_SLEEP_S))
    predictor = make_predictor(segmenter, budget_s=600.0)
    alone = [_open(predictor, number) for number in range(_OPENED)]
    pictures = [picture(1000 + number) for number in range(_BATCH)]
    batch = threading.Thread(target=lambda: ask(predictor, *pictures))
    batch.start()
    beside = [_open(predictor, 500 + number) for number in range(_OPENED)]
    was_busy = batch.is_alive()
    assert was_busy, "the batch ended before the last task was opened"
    console = Console()
    console.print(f"A model of {_SLEEP_S} s an image, {_OPENED} tasks opened each:\n")
    console.print("| | median s | longest s |\n|---|---|---|")
    for name, seconds in (
        ("alone", alone),
        (f"while {_BATCH} tasks are predicted", beside),
    ):
        console.print(
            f"| {name} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |"
        )
    batch.join()


def _open(predictor: Predictor, number: int) -> float:
    """Seconds until a task that nobody has asked for is answered."""
    time.sleep(0.03 * (number % 7))  # not in step with the batch
    address = picture(number)
    started = time.perf_counter()
    (answer,) = ask(predictor, address)
    assert answer, "the task failed"
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
