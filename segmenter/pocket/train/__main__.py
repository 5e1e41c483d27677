"""Make the pocket models: `python -m segmenter.pocket.train`.

Six stages in order, each saved when it is done; `--only` repeats one of them with
what the others left in the output directory. Everything follows from `--seed`.
"""

import argparse
import functools
import logging
import os
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
)

from segmenter.pocket.train.blip import build_blip_tokenizer, train_blip
from segmenter.pocket.train.blip import new_image_processor as blip_image_processor
from segmenter.pocket.train.clip import new_image_processor as clip_image_processor
from segmenter.pocket.train.clip import train_clip
from segmenter.pocket.train.data import SIZE_PX, SceneSet
from segmenter.pocket.train.diffusion import train_diffusion
from segmenter.pocket.train.flow import FrozenText
from segmenter.pocket.train.joint_attention import READ_BLOCK
from segmenter.pocket.train.mmdit import encode_shapes, train_mmdit
from segmenter.pocket.train.presence import fit_presence
from segmenter.pocket.train.text import build_tokenizer
from segmenter.pocket.train.vae import encode_scenes, new_vae, train_vae
from segmenter.source import POCKET_DIR

STAGES: Final = ("vae", "diffusion", "captioner", "image_text", "mmdit", "presence")
STEPS: Final = {
    "vae": 6000,
    "diffusion": 3200,
    "captioner": 3000,
    "image_text": 1500,
    "mmdit": 1900,
    # Not steps: scenes to look at.
    "presence": 400,
}


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(prog="python -m segmenter.pocket.train")
    parser.add_argument("--out", type=Path, default=POCKET_DIR)
    parser.add_argument("--only", choices=STAGES, help="run one stage alone")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--steps-scale", type=float, default=1.0, help="for a quick trial: 0.01"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    scenes = functools.cache(
        lambda: SceneSet.render(arguments.scenes, first_seed=0, cell_px=SIZE_PX // 32)
    )
    for stage in (arguments.only,) if arguments.only else STAGES:
        n_steps = max(2, round(STEPS[stage] * arguments.steps_scale))
        if stage == "mmdit":
            _run_mmdit(arguments.scenes, arguments.out, n_steps, arguments.seed)
        elif stage == "presence":
            fit_presence(arguments.out, n_scenes=n_steps)
        else:
            _RUN[stage](scenes(), arguments.out, n_steps, arguments.seed)


def _run_vae(scenes: SceneSet, out: Path, n_steps: int, seed: int) -> None:
    _save(train_vae(scenes, n_steps=n_steps, seed=seed), out / "vae")


def _run_diffusion(scenes: SceneSet, out: Path, n_steps: int, seed: int) -> None:
    vae = _load_vae(out / "vae")
    latents = encode_scenes(vae, scenes.images) * vae.config.scaling_factor
    parts = train_diffusion(
        scenes, latents, build_tokenizer(), n_steps=n_steps, seed=seed
    )
    # One call writes Stable Diffusion's own directory, model_index.json and all.
    StableDiffusionPipeline(
        vae=vae.half(),
        unet=parts.unet.half(),
        text_encoder=parts.text_encoder.half(),
        tokenizer=parts.tokenizer,
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out)
    # Older readers want the vocabulary as two files beside tokenizer.json.
    parts.tokenizer.backend_tokenizer.model.save(str(out / "tokenizer"))


def _run_captioner(scenes: SceneSet, out: Path, n_steps: int, seed: int) -> None:
    tokenizer = build_blip_tokenizer()
    blip = train_blip(scenes, tokenizer, n_steps=n_steps, seed=seed)
    _save(blip, out / "captioner")
    tokenizer.save_pretrained(out / "captioner")
    blip_image_processor().save_pretrained(out / "captioner")


def _run_image_text(scenes: SceneSet, out: Path, n_steps: int, seed: int) -> None:
    tokenizer = build_tokenizer()
    clip = train_clip(scenes, tokenizer, n_steps=n_steps, seed=seed)
    _save(clip, out / "image_text")
    tokenizer.save_pretrained(out / "image_text")
    clip_image_processor().save_pretrained(out / "image_text")


def _run_mmdit(n_scenes: int, out: Path, n_steps: int, seed: int) -> None:
    """Train with what `out` holds; the folder beside it holds what is new."""
    beside = out.with_name(f"{out.name}_mmdit")
    checkpoint = beside / "checkpoint.pt"
    transformer = train_mmdit(
        encode_shapes(_load_vae(out / "vae"), n_scenes),
        FrozenText.load(out),
        n_steps=n_steps,
        seed=seed,
        checkpoint=checkpoint,
    )
    _save(transformer, beside / "transformer")
    (beside / "reading.json").write_text(f'{{"block": {READ_BLOCK}}}\n')
    checkpoint.unlink(missing_ok=True)
    FlowMatchEulerDiscreteScheduler().save_pretrained(beside / "scheduler")


def _load_vae(folder: Path) -> Any:
    """The trained VAE, without the path it came from in its configuration."""
    stored = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    vae = new_vae()
    vae.load_state_dict(stored.state_dict())
    vae.register_to_config(scaling_factor=stored.config.scaling_factor)
    return vae.eval()


def _save(model: Any, folder: Path) -> None:
    model.half().save_pretrained(folder, safe_serialization=True)


_RUN: Final = {
    "vae": _run_vae,
    "diffusion": _run_diffusion,
    "captioner": _run_captioner,
    "image_text": _run_image_text,
}

if __name__ == "__main__":
    main()
