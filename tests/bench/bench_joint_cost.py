"""What joint attention costs at true size: `python -m tests.bench.bench_joint_cost`.

Stable Diffusion 3 medium read at block 9, its whole transformer, and Stable Diffusion
1.5 in fast mode, at 512 x 512: what they compute, counted (`--rounds 0` does no more),
and what that takes with random weights of their true shapes in one run. The subjects
take turns; medians of CPU time on one thread are printed, which other work on the
machine changes less than time on the clock. Needs 6 GB of memory.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from segmenter import SegmenterOptions, recipe_options
from segmenter.backbones.attention import StopForward, capture
from segmenter.backbones.joint import JointBackbone
from segmenter.backbones.joint.blocks import drop_behind
from segmenter.backbones.joint.reading import conditions
from segmenter.backbones.latents import clean_latents
from segmenter.modes.passes import to_model_input
from segmenter.predictor import Segmenter
from segmenter.weights import DTYPES
from tests.bench.bench_cost import Subjects, measure, scoring
from tests.bench.sd3 import BLOCK, make_vae, sd3_transformer, stable_diffusion_3
from tests.bench.sd15 import SIDE_PX, stable_diffusion_15

_CPU: Final = torch.device("cpu")
_SIDE: Final = SIDE_PX // 8


def main() -> None:
    """Time all three and print the table, and the bytes of the blocks read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="*", default=[1, 40, 80])
    parser.add_argument("--sd15-labels", type=int, nargs="*", default=[1, 40])
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    console.print(count())
    if not arguments.rounds:
        return
    dtype = DTYPES[arguments.dtype]
    picture = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3))
    image = picture.astype(np.uint8)
    sd3 = stable_diffusion_3(_CPU, dtype)
    # Made in the dtype that it stays in: memory is short.
    torch.set_default_dtype(dtype)
    sd15 = stable_diffusion_15(_CPU, dtype)
    torch.set_default_dtype(torch.float32)
    # Common words are one token to CLIP's tokenizer and many to the pocket model's.
    own = recipe_options("sd3", "fast", {"presence": "off", "background_words": ()})
    joint = Segmenter(sd3, own)
    unet = Segmenter(sd15, SegmenterOptions(presence="off"))
    subjects: Subjects = {"SD 3: VAE + whole transformer": lambda: whole(sd3, image)}
    subjects |= {
        f"SD 3 at block 9, {count} labels": scoring(joint, image, count)
        for count in arguments.labels
    }
    subjects |= {
        f"SD 1.5, fast mode, {count} labels": scoring(unet, image, count)
        for count in arguments.sd15_labels
    }
    title = f"CPU time, {arguments.dtype}, {SIDE_PX} px"
    table = measure(subjects, arguments.rounds, title, clock=time.process_time)
    console.print(table)


@torch.inference_mode()
def whole(parts: JointBackbone, image: NDArray[np.uint8]) -> None:
    """What a method costs that runs the whole model once."""
    pixels = to_model_input(image, size_yx=(SIDE_PX, SIDE_PX))[None]
    text = parts.text.encode_texts(["cat"])
    parts.transformer(
        hidden_states=clean_latents(parts.vae, pixels),
        return_dict=False,
        **conditions(parts.transformer, [text], sigma_01=0.515),
    )


@torch.no_grad()
def count() -> Table:
    """Multiply-adds of one picture, two operations each; no number is computed.

    Of the whole model, and up to the last layer that is read.
    """
    with torch.device("meta"):
        vae = make_vae(latent_channels=16)
        unet = UNet2DConditionModel(sample_size=_SIDE, cross_attention_dim=768)
        transformer = sd3_transformer()
        pixels = torch.zeros(1, 3, SIDE_PX, SIDE_PX)
        small, wide = (torch.zeros(1, n, _SIDE, _SIDE) for n in (4, 16))
        time_, clip, joint = (
            torch.zeros(1),
            torch.zeros(1, 77, 768),
            {
                "encoder_hidden_states": torch.zeros(1, 154, 4096),
                "pooled_projections": torch.zeros(1, 2048),
                "timestep": torch.zeros(1),
            },
        )
    table = Table(
        title=f"TFLOP, {SIDE_PX} px, beside the VAE's encoder's "
        f"{_tflop(lambda: vae.encode(pixels)):.2f}"
    )
    for heading in ("what", "whole", "as far as it is read", "parameters", "loaded"):
        table.add_column(heading)
    for name, model, run, last in (
        (
            "SD 3",
            transformer,
            lambda: transformer(hidden_states=wide, **joint),
            f"transformer_blocks.{BLOCK}.attn",
        ),
        (
            "SD 1.5",
            unet,
            lambda: unet(small, time_, clip),
            "up_blocks.3.attentions.1.transformer_blocks.0.attn1",
        ),
    ):
        whole_, every = _tflop(run), _billions(model)
        with capture(model, _stop, layers=[last]):
            read = _tflop(run)
        if model is transformer:
            drop_behind(transformer, BLOCK)
        table.add_row(
            name,
            f"{whole_:.2f}",
            f"{read:.2f}",
            f"{every:.2f} B",
            f"{_billions(model):.2f} B",
        )
    return table


def _stop(_: object) -> None:
    raise StopForward


def _tflop(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, suppress(StopForward):
        run()
    return counter.get_total_flops() / 1e12


def _billions(model: Any) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e9


if __name__ == "__main__":
    main()
