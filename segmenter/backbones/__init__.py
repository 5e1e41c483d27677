"""Latents and texts in, attention to tokens out, whatever model attends.

A `Backbone` is a loaded diffusion model. Each family of models is one file or
sub-package here and one line in `registry.FAMILIES`; what a family has to do is in
`protocol`. Refuses to know labels, modes and masks.
"""

from segmenter.backbones.attention import (
    AttentionCall,
    attention_probabilities,
    capture,
)
from segmenter.backbones.protocol import (
    AttentionReader,
    Backbone,
    Family,
    Geometry,
    Level,
    PromptTokens,
    Sample,
    SampleReading,
    VocabularyTokens,
)
from segmenter.backbones.registry import FAMILIES, load_backbone

__all__ = [
    "FAMILIES",
    "AttentionCall",
    "AttentionReader",
    "Backbone",
    "Family",
    "Geometry",
    "Level",
    "PromptTokens",
    "Sample",
    "SampleReading",
    "VocabularyTokens",
    "attention_probabilities",
    "capture",
    "load_backbone",
]
