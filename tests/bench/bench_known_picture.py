"""Other labels in a known picture beside a new one, at Stable Diffusion 1.5's size.

    python -m tests.bench.bench_known_picture [--rounds 3] [--presence off]

Random weights of its true shapes, 512 x 512, five labels, presence by a CLIP ViT-L/14.
CPU time, medians of rounds in which both take turns; what both say is compared bit by
bit. Needs 8 GB of memory and, on two cores, some five minutes.
"""

import argparse
from statistics import median
from time import process_time
from typing import Final

import numpy as np
import torch
from rich.console import Console

from segmenter import ImageEncoding, ScoreMaps, SegmenterOptions
from segmenter.predictor import Segmenter
from tests.bench.sd15 import (
    SIDE_PX,
    clip_vit_l14,
    label_names,
    stable_diffusion_15,
)

_CPU: Final = torch.device("cpu")


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presence", choices=("calibrated", "off"), default=None)
    arguments = parser.parse_args()
    options = SegmenterOptions(presence=arguments.presence)
    segmenter = Segmenter(
        stable_diffusion_15(_CPU, torch.float32),
        options,
        image_text=lambda: clip_vit_l14(_CPU),
    )
    picture = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
    labels = label_names(5)

    def ask(known: ImageEncoding | None) -> tuple[ScoreMaps, float]:
        started_s = process_time()
        (maps,) = segmenter.score([picture], [labels], encodings=[known])
        return maps, process_time() - started_s

    # Other labels; it warms up as well.
    (before,) = segmenter.score([picture], [("something else",)])
    new_s, known_s = [], []
    is_same = True
    for _ in range(arguments.rounds):
        new, spent_s = ask(None)
        new_s.append(spent_s)
        known, spent_s = ask(before.encoding)
        known_s.append(spent_s)
        is_same &= all(
            np.array_equal(getattr(new, name), getattr(known, name))
            for name in ("maps", "presence", "features", "layers")
        )
    assert before.encoding is not None
    Console().print(
        f"presence {options.presence}, {torch.get_num_threads()} threads: new "
        f"{median(new_s):.2f} s of CPU, known {median(known_s):.2f}, ratio "
        f"{median(known_s) / median(new_s):.2f}; the same to the bit: {is_same}; "
        f"latents {before.encoding.latents[0].nbytes} bytes"
    )


if __name__ == "__main__":
    main()
