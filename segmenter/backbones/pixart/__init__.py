"""The family of PixArt: transformers with cross-attention and T5.

One grid; self-attention and cross-attention in every block, keys that depend on the
text alone, and a text whose padding is not shown to the model.
"""

from typing import Final

from segmenter.backbones.pixart.backbone import PixArtBackbone
from segmenter.backbones.pixart.loading import load_pixart
from segmenter.backbones.protocol import Family

FAMILY: Final = Family(
    class_names=frozenset({"PixArtTransformer2DModel"}), load=load_pixart
)

__all__ = ["FAMILY", "PixArtBackbone", "load_pixart"]
