"""Let torch compile the parts of a model that nobody listens to.

The VAE's encoder, and of the U-Net its convolutions and feed-forward layers. Attention
layers are left alone: a reader stands in them, and stops the U-Net in the middle.
"""

from typing import Final

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D

from segmenter.weights import DiffusionParts

# Blocks share their code, which torch compiles anew for every width: beyond this many
# versions it gives up.
_MOST_VERSIONS: Final = 64


def compile_parts(parts: DiffusionParts) -> None:
    """Have the parts compiled when they first run, and again for every new shape."""
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _MOST_VERSIONS)
    parts.vae.encoder.compile()
    for module in parts.unet.modules():
        if isinstance(module, ResnetBlock2D | FeedForward):
            module.compile()
