"""Which attention layers a U-Net has, and which of them a recipe reads.

Depth counts halvings: 0 is the latent's resolution, 1 half of it. Stable Diffusion
1 and 2 attend at depths 0 to 3, SDXL at 1 and 2, the pocket model at 0 to 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segmenter.backbones.attention import AttentionCall, AttentionKind, capture
from segmenter.backbones.cross_attention import LayerPlan
from segmenter.errors import UnsupportedModel
from segmenter.options import SelfAttentionLayers
from segmenter.weights import first_line, is_device_error

# Layers of the decoder whose self-attention refines the maps where "decoder" is asked
# for. On the pocket model their mean is as good as that of all (docs/benchmarks.md);
# what the U-Net computes behind them is saved.
_FIRST_OF_DECODER = 2
_DECODER = "up_blocks"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One attention layer.

    Attributes:
        name: dotted module name inside the U-Net.
        kind: "cross" or "self".
        depth: halvings of the latent.
    """

    name: str
    kind: AttentionKind
    depth: int


@torch.no_grad()
def scan_layers(
    unet: Any, context: Tensor, added: dict[str, Tensor] | None
) -> tuple[Layer, ...]:
    """List the attention layers in the order of execution.

    Found by running the U-Net once on the smallest latent that it takes.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        context: (1, K, D) token embeddings, whatever they say.
        added: what else the U-Net wants to know, see `inputs.added_conditions`.

    Raises:
        UnsupportedModel: if the U-Net wants other things than these, or has attention
            of another kind.
    """
    side = 2 ** len(unet.config.block_out_channels)
    layers: list[Layer] = []

    def note(call: AttentionCall) -> None:
        depth = ((side * side // call.cells).bit_length() - 1) // 2
        layers.append(Layer(name=call.layer, kind=call.kind, depth=depth))

    latent = torch.zeros(
        (1, unet.config.in_channels, side, side), device=unet.device, dtype=unet.dtype
    )
    try:
        with capture(unet, note):
            unet(latent, 1, context, added_cond_kwargs=added, return_dict=False)
    # A model made for other inputs fails wherever it first misses them.
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if is_device_error(error):
            raise
        raise UnsupportedModel(_describe_failure(unet, context, error)) from error
    return tuple(layers)


def _describe_failure(unet: Any, context: Tensor, error: Exception) -> str:
    processors = {type(one).__name__ for one in unet.attn_processors.values()}
    return (
        f"The U-Net does not run on a latent and a text of {context.shape[2]} numbers "
        f"a token, or its attention cannot be read (its attention processors: "
        f"{', '.join(sorted(processors)) or 'none'}; {first_line(error)}). Use a "
        f"text-to-image model such as Stable Diffusion 1.5 or XL, all parts of one "
        f"model."
    )


def plan_layers(
    layers: Sequence[Layer],
    *,
    level_weights: Sequence[float],
    self_attention_products: int,
    self_attention_layers: SelfAttentionLayers,
) -> LayerPlan:
    """Choose what a recipe reads.

    Args:
        layers: of the U-Net, in the order of execution.
        level_weights: coarsest level first. Where the model has fewer levels the
            first weights are used, where it has more the finest levels are left
            out: what the weights say is how far from coarse a level is.
        self_attention_products: 0 keeps no self-attention.
        self_attention_layers: which of those at the finest level.

    Raises:
        UnsupportedModel: if the U-Net reads no text, or attends nowhere to itself
            though it is to.
    """
    depths = sorted({layer.depth for layer in layers if layer.kind == "cross"})[::-1]
    if not depths:
        raise UnsupportedModel(
            "The U-Net has no cross-attention layer; labels cannot be read from it."
        )
    weights = {
        depth: weight
        for depth, weight in zip(depths, level_weights, strict=False)
        if weight > 0
    }
    own = [layer for layer in layers if layer.kind == "self"]
    if self_attention_products and not own:
        raise UnsupportedModel(
            "The U-Net has no self-attention; set self_attention_products to 0 to "
            "read cross-attention alone."
        )
    finest = min(layer.depth for layer in own) if own else min(depths)
    refining = [layer.name for layer in own if layer.depth == finest]
    if not self_attention_products:
        refining = []
    elif self_attention_layers == "decoder":
        refining = _first_of_decoder(refining)
    cross = {
        layer.name: layer.depth
        for layer in layers
        if layer.kind == "cross" and layer.depth in weights
    }
    read = {*refining, *cross}
    # One level up, cells know more of the object that they are part of: on the pocket
    # model a first click without a label finds 0.84 of it rather than 0.75.
    coarser = [name for name, depth in cross.items() if depth == finest + 1]
    decoder = [name for name in coarser if name.startswith(_DECODER)]
    return LayerPlan(
        cross=cross,
        weights=weights,
        self_attention=frozenset(refining),
        depth=finest,
        features={
            **dict.fromkeys(refining, finest),
            **dict.fromkeys(decoder or coarser, finest + 1),
        },
        depths={layer.name: layer.depth for layer in layers if layer.name in read},
        last=[layer.name for layer in layers if layer.name in read][-1],
    )


def _first_of_decoder(names: Sequence[str]) -> list[str]:
    """The decoder's first few, or all where it has none."""
    decoder = [name for name in names if name.startswith(_DECODER)]
    return decoder[:_FIRST_OF_DECODER] or list(names)
