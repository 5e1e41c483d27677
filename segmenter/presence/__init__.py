"""An image and labels in, how probably each label is in the image out.

Also what BLIP says of an image, which prompts and the paper's filter are made of. The
models for both are loaded when options first need them. Refuses to know how score maps
come about: what they say of presence is a number for each label.
"""

from segmenter.presence.auxiliary import AuxiliaryModels
from segmenter.presence.calibration import Calibration, load_calibration
from segmenter.presence.models import (
    Captioner,
    ImageText,
    load_captioner,
    load_image_text,
)
from segmenter.presence.scorer import PresenceScorer, competition_weights, log_odds

__all__ = [
    "AuxiliaryModels",
    "Calibration",
    "Captioner",
    "ImageText",
    "PresenceScorer",
    "competition_weights",
    "load_calibration",
    "load_captioner",
    "load_image_text",
    "log_odds",
]
