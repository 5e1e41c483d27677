"""Images per second on a GPU: `python -m tests.bench.bench_gpu --peak-tflops 989`.

Random weights of Stable Diffusion 1.5's true shapes, 512 x 512, five labels, presence
off. For each batch size fast mode, and the floor of the same batch (VAE encode and one
plain U-Net forward), in alternation; medians of GPU events. The share of the card's
peak counts the floor's multiplications and additions against `--peak-tflops`, which the
card's data sheet gives for the precision. Says so and stops where there is no GPU.
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from segmenter import SegmenterOptions
from segmenter.backbones.latents import noised_latents
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from segmenter.weights import DTYPES
from tests.bench.sd15 import SIDE_PX, label_names, stable_diffusion_15

_LABELS: Final = label_names(5)


def main() -> None:
    """Measure every batch size and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 2, 4, 8, 16, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="H100 SXM")
    arguments = parser.parse_args()
    console = Console(width=110)
    if not torch.cuda.is_available():
        console.print("There is no GPU here; nothing to measure.")
        return
    device = torch.device("cuda")
    parts = stable_diffusion_15(device, DTYPES[arguments.dtype])
    one_image = flops(lambda: floor(parts, 1))
    if arguments.compile:
        parts.compile()
    table = Table(
        title=f"{torch.cuda.get_device_name()}, {arguments.dtype}, {SIDE_PX} px"
        + (", compiled" if arguments.compile else "")
    )
    for heading in ("batch", "images/s", "floor, images/s", "x floor", "share of peak"):
        table.add_column(heading)
    for size in arguments.batches:
        mode, plain = times(subjects(parts, size), arguments.rounds)
        share = one_image * size / mode / (arguments.peak_tflops * 1e12)
        table.add_row(
            str(size),
            f"{size / mode:.1f}",
            f"{size / plain:.1f}",
            f"{mode / plain:.2f}",
            f"{share:.1%}",
        )
    console.print(table)


def subjects(parts: UNetBackbone, size: int) -> Sequence[Callable[[], object]]:
    """Fast mode and the floor, for so many images at once."""
    options = SegmenterOptions(presence="off", images_per_pass=size)
    segmenter = Segmenter(parts, options)
    images = pictures(size)
    return (
        lambda: segmenter.score(images, [_LABELS] * size),
        lambda: floor(parts, size),
    )


def pictures(size: int) -> list[NDArray[np.uint8]]:
    """Noise."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8) for _ in range(size)
    ]


@torch.inference_mode()
def floor(parts: UNetBackbone, size: int) -> None:
    """One VAE encode and one plain U-Net forward of a batch."""
    side, device = SIDE_PX // 8, parts.unet.device
    latents = noised_latents(
        parts.vae,
        parts.scheduler,
        torch.zeros(size, 3, SIDE_PX, SIDE_PX, device=device),
        timestep=100,
        noise=torch.randn(size, 4, side, side),
    )
    context = torch.zeros(size, 77, 768, dtype=parts.unet.dtype, device=device)
    parts.unet(latents, 100, context, return_dict=False)


def flops(run: Callable[[], object]) -> int:
    """Floating point operations of a run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def times(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each, measured in turn by GPU events."""
    found: list[list[float]] = [[] for _ in runs]
    for round_number in range(rounds + 2):
        for run, own in zip(runs, found, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            if round_number >= 2:  # the first two warm up
                own.append(start.elapsed_time(end) / 1000)
    return [median(own) for own in found]


if __name__ == "__main__":
    main()
