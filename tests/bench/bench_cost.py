"""What a mask costs at Stable Diffusion 1.5's size: `python -m tests.bench.bench_cost`.

Random weights of its true shapes (speed and memory do not depend on them), 512 x 512.
The floor is one VAE encode and one plain U-Net forward of the same model: what no
method that reads this model can do without. Captions are left out; presence has rows
of its own, with a CLIP ViT-L/14 of random weights. The subjects take turns; medians
are printed. Needs 10 GB of memory and, on two cores, some ten minutes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from segmenter import SegmenterOptions
from segmenter.backbones.latents import noised_latents
from segmenter.backbones.unet import UNetBackbone
from segmenter.modes.passes import to_model_input
from segmenter.predictor import Segmenter
from segmenter.weights import DTYPES
from tests.bench.sd15 import (
    SIDE_PX,
    clip_vit_l14,
    label_names,
    stable_diffusion_15,
)

_GIB: Final = 2**30
_CPU: Final = torch.device("cpu")

Subjects = dict[str, Callable[[], object]]


def main() -> None:
    """Time floor, fast mode and paper mode in alternation and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="*", default=[1, 5, 20, 80])
    parser.add_argument("--paper-labels", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--channels-first", action="store_true")
    arguments = parser.parse_args()
    parts = stable_diffusion_15(
        _CPU, DTYPES[arguments.dtype], channels_last=not arguments.channels_first
    )
    picture = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3))
    image = picture.astype(np.uint8)
    subjects: Subjects = {
        "floor: VAE encode + one U-Net forward": lambda: floor(parts, image)
    }
    subjects |= fast_subjects(parts, image, arguments.labels)
    subjects |= paper_subjects(parts, image, arguments.paper_labels)
    order = "channels first" if arguments.channels_first else "channels last"
    title = (
        f"{torch.get_num_threads()} threads, {arguments.dtype}, {order}, {SIDE_PX} px"
    )
    Console(width=110).print(measure(subjects, arguments.rounds, title))


def fast_subjects(
    parts: UNetBackbone, image: NDArray[np.uint8], counts: Sequence[int]
) -> Subjects:
    """Fast mode for so many labels, then once with presence."""
    bare = Segmenter(parts, SegmenterOptions(presence="off"))
    subjects: Subjects = {
        f"fast mode, {count} labels": scoring(bare, image, count) for count in counts
    }
    clip = clip_vit_l14(_CPU)
    judged = Segmenter(parts, SegmenterOptions(), image_text=lambda: clip)
    subjects["fast mode, 5 labels, presence by CLIP"] = scoring(judged, image, 5)
    return subjects


def paper_subjects(
    parts: UNetBackbone, image: NDArray[np.uint8], counts: Sequence[int]
) -> Subjects:
    """Paper mode for so many labels, without captions."""
    segmenter = Segmenter(parts, SegmenterOptions(mode="paper", caption=False))
    return {
        f"paper mode, {count} labels": scoring(segmenter, image, count)
        for count in counts
    }


def scoring(
    segmenter: Segmenter, image: NDArray[np.uint8], n_labels: int
) -> Callable[[], object]:
    """Score maps of one image."""
    labels = label_names(n_labels)
    return lambda: segmenter.score([image], [labels])


@torch.inference_mode()
def floor(parts: UNetBackbone, image: NDArray[np.uint8]) -> None:
    """What no method that reads this model can do without."""
    side = SIDE_PX // 8
    latents = noised_latents(
        parts.vae,
        parts.scheduler,
        to_model_input(image, size_yx=(SIDE_PX, SIDE_PX))[None],
        timestep=100,
        noise=torch.randn(1, 4, side, side),
    )
    context = torch.zeros(1, 77, 768, dtype=parts.unet.dtype)
    parts.unet(latents, 100, context, return_dict=False)


def measure(
    subjects: Subjects,
    rounds: int,
    title: str,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Table:
    """Time all subjects in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    peaks: dict[str, int] = {}
    for round_number in range(rounds + 1):
        for name, subject in subjects.items():
            before = _resident_bytes("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
            started = clock()
            subject()
            if round_number:
                seconds[name].append(clock() - started)
                peaks[name] = max(peaks.get(name, 0), _resident_bytes("VmHWM") - before)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    lowest = next(iter(medians.values()))
    resident = _resident_bytes("VmRSS")
    least_peak = resident + next(iter(peaks.values()))
    table = Table(title=f"{title}; resident beside it {resident / _GIB:.1f} GiB")
    for heading in ("what", "seconds", "x floor", "peak above it, GiB", "x its peak"):
        table.add_column(heading)
    for name, median in medians.items():
        table.add_row(
            name,
            f"{median:.2f}",
            f"{median / lowest:.2f}",
            f"{peaks[name] / _GIB:.2f}",
            f"{(resident + peaks[name]) / least_peak:.2f}",
        )
    return table


def _resident_bytes(field: str) -> int:
    """A memory field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
