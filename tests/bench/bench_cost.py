"""What a mask costs at Stable Diffusion 1.5's size: `python tests/bench/bench_cost.py`.

Random weights (speed and memory do not depend on them), 512 x 512, captions left
out. The floor is one VAE encode and one plain U-Net forward of the same model; the
rounds alternate, medians are printed. Needs 10 GB of memory and some minutes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from transformers import CLIPTextConfig, CLIPTextModel

from segmenter import SegmenterOptions
from segmenter.diffusion import forward_unet, noised_latent, to_model_input
from segmenter.pocket.train.text import build_tokenizer
from segmenter.predictor import Segmenter
from segmenter.weights import DiffusionParts

_SIDE_PX: Final = 512
_LABELS: Final = ("cat", "dog", "sofa", "plant", "person", "tree", "car", "boat")
_GIB: Final = 2**30


def main() -> None:
    """Time the floor and paper mode in alternation and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="*", default=[1, 4])
    arguments = parser.parse_args()
    console = Console(width=100)
    parts = stable_diffusion_shape()
    picture = np.random.default_rng(0).integers(0, 255, (_SIDE_PX, _SIDE_PX, 3))
    image = picture.astype(np.uint8)
    subjects = {"floor: VAE encode + one U-Net forward": lambda: floor(parts, image)}
    for n_labels in arguments.labels:
        for per_pass in sorted({1, n_labels}):
            options = SegmenterOptions(caption=False, labels_per_pass=per_pass)
            segmenter = Segmenter(parts, options)
            labels = list(_LABELS[:n_labels])
            subjects[f"paper mode, {n_labels} labels, {per_pass} a pass"] = (
                lambda segmenter=segmenter, labels=labels: segmenter.score(
                    [image], [labels]
                )
            )
    console.print(_measure(subjects, arguments.rounds))


def stable_diffusion_shape() -> DiffusionParts:
    """Stable Diffusion 1.5's parts with random weights, float32."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=_SIDE_PX,
    )
    # diffusers' defaults are Stable Diffusion 1's U-Net but for the text width.
    unet = UNet2DConditionModel(sample_size=_SIDE_PX // 8, cross_attention_dim=768)
    parts = DiffusionParts(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear"),
    )
    for model in (vae, unet, text_encoder):
        model.eval().requires_grad_(False)
    return parts


@torch.inference_mode()
def floor(parts: DiffusionParts, image: np.ndarray) -> None:
    """What no method that reads this model can do without."""
    latent = noised_latent(
        parts.vae,
        parts.scheduler,
        to_model_input(image, side_px=_SIDE_PX),
        timestep=100,
        kind="mean",
        seed=0,
    )
    forward_unet(parts.unet, latent, 100, torch.zeros(1, 77, 768))


def _measure(subjects: dict[str, Callable[[], object]], rounds: int) -> Table:
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    peaks: dict[str, int] = {}
    for round_number in range(rounds + 1):  # the first warms up
        for name, subject in subjects.items():
            before = _resident_bytes("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
            started = time.perf_counter()
            subject()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
            peaks[name] = max(peaks.get(name, 0), _resident_bytes("VmHWM") - before)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    lowest = next(iter(medians.values()))
    weights = _resident_bytes("VmRSS") / _GIB
    table = Table(
        title=f"{torch.get_num_threads()} threads, float32, {_SIDE_PX} px; "
        f"resident beside it {weights:.1f} GiB"
    )
    for heading in ("what", "seconds", "x floor", "peak above resident, GiB"):
        table.add_column(heading)
    for name, median in medians.items():
        table.add_row(
            name,
            f"{median:.2f}",
            f"{median / lowest:.2f}",
            f"{peaks[name] / _GIB:.2f}",
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
