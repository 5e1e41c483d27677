#!/usr/bin/env bash
# diffusers 0.42.1: what other threads build while a model loads comes without weights.
#
# A server loads Stable Diffusion's text encoder (transformers) while another thread
# loads a VAE (diffusers). We guessed that each gets a whole model, as each does alone.
# Seen: one after the other, all text encoders are whole. Beside a VAE that is loading
# they come back with tensors on the device "meta", which hold no data, and `.to("cpu")`
# raises "Cannot copy out of meta tensor". A plain `torch.nn.Linear` that another thread
# makes meanwhile has no data either: accelerate's `init_empty_weights`, which diffusers
# builds models in, replaces a method of `torch.nn.Module` for the whole process. One
# lock around all `from_pretrained` keeps models whole.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.2.6 diffusers==0.42.1 transformers==5.23.0 \
    accelerate==1.15.0 safetensors==0.8.0 2>/dev/null

cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel
from transformers.utils import logging

logging.disable_progress_bar()
AutoencoderKL(
    block_out_channels=(32, 32, 32, 32),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=4,
    norm_num_groups=8,
).save_pretrained("vae")
CLIPTextModel(
    CLIPTextConfig(
        vocab_size=500,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=8,
        bos_token_id=1,
        eos_token_id=2,
    )
).save_pretrained("text_encoder")
LOADS = 24


def is_whole() -> bool:
    try:
        model = CLIPTextModel.from_pretrained("text_encoder")
        return not any(weight.to("cpu").is_meta for weight in model.state_dict().values())
    except Exception as error:
        said.add(str(error).split("!")[0][:80])
        return False


def has_weight() -> bool:
    return not torch.nn.Linear(4, 4).weight.is_meta


def beside(made: Callable[[], bool]) -> list[bool]:
    """What became of `made` in one thread while another loads VAEs."""
    over = threading.Event()

    def make() -> list[bool]:
        found = []
        while not over.is_set():
            found.append(made())
        return found

    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(make)
        for _ in range(LOADS):
            AutoencoderKL.from_pretrained("vae")
        over.set()
        return making.result()


said: set[str] = set()
alone = [is_whole() for _ in range(LOADS)]
encoders, layers = beside(is_whole), beside(has_weight)
print(f"text encoders alone: {sum(alone)} of {len(alone)} are whole")
print(f"beside a VAE: {sum(encoders)} of {len(encoders)} are whole; said: {said}")
print(f"layers beside a VAE: {sum(layers)} of {len(layers)} have a weight")
assert all(alone), "models loaded one after the other are not whole"
assert not all(encoders), "all text encoders loaded beside a VAE are whole now"
assert not all(layers), "all layers made beside a VAE have a weight now"
PYTHON
