"""The family with a U-Net: Stable Diffusion 1, 2 and XL, and the pocket model.

Cross-attention on grids that halve from level to level, keys that depend on the text
alone, a decoder after which nothing is read.
"""

from typing import Final

from segmenter.backbones.protocol import Family
from segmenter.backbones.unet.backbone import UNetBackbone
from segmenter.backbones.unet.loading import load_unet

FAMILY: Final = Family(class_names=frozenset({"UNet2DConditionModel"}), load=load_unet)

__all__ = ["FAMILY", "UNetBackbone", "load_unet"]
