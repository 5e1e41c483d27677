"""What painting costs: score maps and a picture in, brush regions out.

    python -m tests.bench.bench_painting [--baseline DIR] [--rounds 5] [--cases 2,5]

CPU time of one thread, medians, and the peak memory of the process that paints, the
picture and what Python has imported among it. A baseline is another checkout of this
project: both take turns in one run, each in a process of its own, and the masks are
compared pixel by pixel.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

_CASES: Final = (
    ("320 x 240", (240, 320), 5),
    ("1080p", (1080, 1920), 5),
    ("9 MP", (2500, 3600), 5),
    ("12 MP", (3000, 4000), 5),
    ("12 MP", (3000, 4000), 20),
    ("100 MP", (8660, 11547), 5),
)
# Short ones are repeated, and their medians are of more.
_MORE_ROUNDS_UP_TO_PX: Final = 3_000_000
_MORE: Final = 6
_TREE: Final = Path(__file__).parents[2]
_WORKER: Final = Path(__file__).with_name("painting_worker.py")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(kw_only=True, eq=False)
class _Painter:
    """A process that paints one case by one tree."""

    process: subprocess.Popen[str]
    peak_mb: float = 0.0
    cpu_ms: list[float] = field(default_factory=list)

    def ask(self, command: str = "") -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if command:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer


def start(tree: Path, size_yx: tuple[int, int], n_labels: int) -> _Painter:
    """Have a tree paint a case once; its peak memory is of that."""
    process = subprocess.Popen(
        [sys.executable, str(_WORKER), *map(str, (*size_yx, n_labels))],
        cwd=tree,
        env=os.environ | _ONE_THREAD | {"PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return _Painter(process=process)


def measure(
    trees: Sequence[Path], size_yx: tuple[int, int], n_labels: int, rounds: int
) -> tuple[list[_Painter], list[NDArray[np.uint8]]]:
    """Both trees in turns, and what they painted."""
    painters: list[_Painter] = []
    masks = []
    with tempfile.TemporaryDirectory() as folder:
        for number, tree in enumerate(trees):
            painter = start(tree, size_yx, n_labels)
            painters.append(painter)
            painter.peak_mb = painter.ask()["peak_mb"]
            path = Path(folder, f"{number}.npy")
            painter.ask(f"masks {path}")
            masks.append(np.load(path))
        for _ in range(rounds):
            for painter in painters:
                painter.cpu_ms.append(painter.ask("paint")["cpu_ms"])
    for painter in painters:
        painter.process.communicate()
    return painters, masks


def main() -> None:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default="0,1,2,3,4,5")
    arguments = parser.parse_args()
    trees = [_TREE] + ([arguments.baseline.resolve()] if arguments.baseline else [])
    table = Table(title="Painting brush regions, edges guided, one thread")
    headings = ["picture", "labels", "CPU ms", "peak MB"]
    if arguments.baseline:
        headings += ["baseline: CPU ms", "peak MB", "CPU", "peak", "pixels that differ"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for number in map(int, arguments.cases.split(",")):
        name, size_yx, n_labels = _CASES[number]
        is_short = size_yx[0] * size_yx[1] <= _MORE_ROUNDS_UP_TO_PX
        rounds = arguments.rounds * (_MORE if is_short else 1)
        painters, masks = measure(trees, size_yx, n_labels, rounds)
        cpu_ms = [median(painter.cpu_ms) for painter in painters]
        peak_mb = [painter.peak_mb for painter in painters]
        row = [name, str(n_labels)]
        for cpu, peak in zip(cpu_ms, peak_mb, strict=True):
            row += [f"{cpu:,.0f}" if cpu > 20 else f"{cpu:.1f}", f"{peak:,.0f}"]
        if arguments.baseline:
            row += [f"{cpu_ms[0] / cpu_ms[1]:.2f}", f"{peak_mb[0] / peak_mb[1]:.2f}"]
            row.append(str(int((masks[0] != masks[1]).sum())))
        table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
