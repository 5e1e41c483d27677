#!/usr/bin/env bash
# diffusers 0.42.1 (torch 2.13.0): weights that it calls "newly initialized" are memory
# that nobody wrote to.
#
# To give a U-Net another input (a mask beside the latents, say) or one more part, it is
# loaded with a changed config and trained on; diffusers' own error names the arguments
# `low_cpu_mem_usage=False` and `ignore_mismatched_sizes=True` for that, and the log then
# says which weights are "newly initialized". We guessed that torch draws them as in a
# new model, so that `torch.manual_seed` makes them the same again.
# Seen: the state of the random generator does not move, and with deterministic
# algorithms on, by which torch fills memory that it hands out with NaN, they are NaN to
# the last one. Otherwise they are what lay there: zeros, or numbers up to 1e38, others at
# each start. The same holds for a part that the file lacks, without the second argument.
# (transformers once had that fault and mended it.) Call `reset_parameters()` on each
# layer that `output_loading_info=True` names, and refuse a model that should be whole.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 diffusers==0.42.1 numpy==2.2.6 2>/dev/null
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import torch
from diffusers import UNet2DConditionModel

UNet2DConditionModel(
    sample_size=8,
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    cross_attention_dim=32,
    attention_head_dim=4,
).save_pretrained("unet")

torch.use_deterministic_algorithms(True)
changes = {
    "conv_in": {"in_channels": 5, "ignore_mismatched_sizes": True},
    "class_embedding.linear_1": {"class_embed_type": "timestep"},
}
for name, change in changes.items():
    before = torch.get_rng_state()
    unet, told = UNet2DConditionModel.from_pretrained(
        "unet", low_cpu_mem_usage=False, output_loading_info=True, **change
    )
    weight = unet.get_submodule(name).weight
    known = unet.conv_out.weight
    is_drawn = not torch.equal(before, torch.get_rng_state())
    print(
        f"{name}: missing {len(told['missing_keys'])}, other shape "
        f"{len(told['mismatched_keys'])}; random numbers drawn: {is_drawn}; NaN "
        f"{int(weight.isnan().sum())} of {weight.numel()} (conv_out: "
        f"{int(known.isnan().sum())} of {known.numel()})"
    )
    assert not is_drawn and weight.isnan().all(), "they are initialized now"
    assert not known.isnan().any()
PYTHON
