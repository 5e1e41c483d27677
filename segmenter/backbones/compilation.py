"""Parts of a model in, the same compiled by torch where nobody listens out."""

from typing import Any, Final

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D

# Blocks share their code, which torch compiles anew for every width: beyond this many
# versions it gives up.
_MOST_VERSIONS: Final = 64


def compile_parts(vae: Any, denoiser: Any) -> None:
    """Have torch compile what it can, anew for every new shape.

    The VAE's encoder, and of the denoiser its convolutions and feed-forward layers.
    Attention layers are left alone: a hook stands in them, and stops the denoiser in
    the middle.
    """
    # Brings a compiler along, which few need.
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _MOST_VERSIONS)
    vae.encoder.compile()
    for module in denoiser.modules():
        if isinstance(module, ResnetBlock2D | FeedForward):
            module.compile()
