"""Settings that cost no accuracy to speak of: `python -m tests.bench.bench_settings`.

One image of 512 x 512 in fast mode, five labels, presence off, random weights of Stable
Diffusion 1.5's true shapes, on the CPU; each setting beside the plainest. What is
gained depends on the processor: bfloat16 wants one that computes in it (`lscpu` names
avx512_bf16 or amx_bf16). The subjects take turns, the first round (with compiling)
warms up, medians are printed. Needs 20 GB of memory and some five minutes.
"""

import argparse
from typing import Final

import numpy as np
import torch
from rich.console import Console

from segmenter import SegmenterOptions
from segmenter.predictor import Segmenter
from tests.bench.bench_cost import Subjects, measure, scoring
from tests.bench.sd15 import SIDE_PX, stable_diffusion_15

_N_LABELS: Final = 5


def main() -> None:
    """Time every setting and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    settings = {
        "float32, channels first": stable_diffusion_15(
            cpu, torch.float32, channels_last=False
        ),
        "float32, channels last (default)": stable_diffusion_15(cpu, torch.float32),
        "float32, compiled": stable_diffusion_15(cpu, torch.float32),
        "bfloat16": stable_diffusion_15(cpu, torch.bfloat16),
    }
    settings["float32, compiled"].compile()
    picture = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3))
    image = picture.astype(np.uint8)
    options = SegmenterOptions(presence="off")
    subjects: Subjects = {
        name: scoring(Segmenter(parts, options), image, _N_LABELS)
        for name, parts in settings.items()
    }
    title = f"{torch.get_num_threads()} threads, {SIDE_PX} px"
    Console(width=110).print(measure(subjects, arguments.rounds, title))


if __name__ == "__main__":
    main()
