"""What a pass of the pocket model costs, and what it says, beside another checkout's.

    python -m tests.bench.bench_pass [--baseline DIR] [--rounds 40]

CPU time of one thread from pixels to score maps of five labels (neither features for
clicks nor layers for heads, which a first look at a task adds), medians of rounds in
which the two take turns, each in a process of its own. Then both segment 60 training
scenes, asked for their words and five absent ones: pixels that differ, and mIoU.
Without a baseline, this tree's own figures alone.
"""

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SIZES: Final = {"128 x 128": (128, 128), "320 x 240": (240, 320)}
_LABELS: Final = ("dog", "cat", "tree", "car", "bird")
_FIRST_SEED: Final = 860_000
_N_SCENES: Final = 60
_TREE: Final = Path(__file__).parents[2]


def work() -> None:
    """Answer lines of one tree, the one on the import path, until told to end.

    "SIZE" with milliseconds of CPU; "masks PATH" once label maps are written there.
    """
    import torch

    from segmenter import load_segmenter
    from segmenter.pocket.scenes import render_scene
    from segmenter.pocket.words import WORDS

    torch.set_num_threads(1)
    segmenter = load_segmenter("pocket", device="cpu")
    # Old trees read nothing else.
    can_choose = "reads_cells" in inspect.signature(segmenter.score).parameters
    maps_alone: Any = {"reads_cells": False} if can_choose else {}
    for line in iter(sys.stdin.readline, ""):
        command, _, path = line.strip().partition(" ")
        answer = 0.0
        if command == "masks":
            found = []
            for seed in range(_FIRST_SEED, _FIRST_SEED + _N_SCENES):
                scene = render_scene(seed)
                absent = [word for word in WORDS if word not in scene.words][:5]
                labels = (*scene.words, *absent)
                (cut,) = segmenter.segment([scene.image], [labels])
                numbers = np.array([0, *(1 + WORDS.index(label) for label in labels)])
                found.append(numbers[cut.label_map + 1])
            np.save(path, np.array(found, np.uint8))
        else:
            rows, columns = json.loads(path)
            scene = render_scene(_FIRST_SEED).image
            image = np.ascontiguousarray(
                np.tile(scene, (2, 3, 1))[:rows, :columns]  # 128 px or more of it
            )
            started_s = process_time()
            segmenter.score([image], [_LABELS], **maps_alone)
            answer = 1e3 * (process_time() - started_s)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Worker:
    """A process that does so by one tree."""

    def __init__(self, tree: Path) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            cwd=tree,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> float:
        """Send a line and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


def main() -> None:
    """Measure both and print the figures."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    trees = [_TREE] + ([arguments.baseline.resolve()] if arguments.baseline else [])
    workers = [Worker(tree) for tree in trees]
    table = Table(title="A pass of the pocket model, one thread")
    for heading in ("picture", "CPU ms", "baseline's", "ratio")[: 2 * len(trees)]:
        table.add_column(heading, justify="right")
    for name, size_yx in _SIZES.items():
        command = f"pass {json.dumps(size_yx)}"
        times_ms: list[list[float]] = [[] for _ in workers]
        for round_number in range(arguments.rounds + 2):
            for worker, own in zip(workers, times_ms, strict=True):
                spent_ms = worker.ask(command)
                if round_number >= 2:  # warm
                    own.append(spent_ms)
        medians = [median(own) for own in times_ms]
        row = [f"{one:.1f}" for one in medians]
        if arguments.baseline:
            row.append(f"{medians[0] / medians[1]:.2f}")
        table.add_row(name, *row)
    Console(width=100).print(table, masks_line(workers))
    for worker in workers:
        worker.end()


def masks_line(workers: list[Worker]) -> str:
    """How the two differ in what they draw."""
    from segmenter.evaluation.counts import IouCounts
    from segmenter.pocket.scenes import render_scene
    from segmenter.pocket.words import WORDS

    maps: list[NDArray[np.uint8]] = []
    means = []
    with tempfile.TemporaryDirectory() as folder:
        for number, worker in enumerate(workers):
            path = Path(folder, f"{number}.npy")
            worker.ask(f"masks {path}")
            maps.append(np.load(path))
            counts = IouCounts(1 + len(WORDS))
            for seed, found in enumerate(maps[-1], _FIRST_SEED):
                counts.add(render_scene(seed).class_map, found)
            means.append(counts.mean())
    n_moved = int((maps[0] != maps[-1]).sum())
    scores = ", ".join(f"{mean:.4f}" for mean in means)
    return (
        f"{_N_SCENES} training scenes: mIoU {scores}; "
        f"{n_moved} of {maps[0].size} pixels differ"
    )


if __name__ == "__main__":
    work() if "--work" in sys.argv else main()
