"""The family with joint attention: Stable Diffusion 3 and 3.5.

One grid, one block that is read, and one softmax in which cells attend to cells and
tokens alike; keys of tokens that the image has changed, so that texts beside the one
that drives the pass need passes of their own.
"""

from typing import Final

from segmenter.backbones.joint.backbone import JointBackbone
from segmenter.backbones.joint.loading import load_joint
from segmenter.backbones.protocol import Family

FAMILY: Final = Family(
    class_names=frozenset({"SD3Transformer2DModel"}), load=load_joint
)

__all__ = ["FAMILY", "JointBackbone", "load_joint"]
