"""Labeling XML in, controls with their labels and prompts out.

Refuses to know images, models and HTTP. Bad configs are `BadLabelConfig`, whose message
shows one that works.
"""

from backend.label_config.attributes import EXAMPLE, is_skipped
from backend.label_config.clicked import ClickTarget
from backend.label_config.drawn import DrawnTags, read_drawn_tags
from backend.label_config.labels import labels_by_control
from backend.label_config.parser import LabelConfig, read_label_config
from backend.label_config.task_data import image_addresses, loose_end, read_value

__all__ = [
    "EXAMPLE",
    "ClickTarget",
    "DrawnTags",
    "LabelConfig",
    "image_addresses",
    "is_skipped",
    "labels_by_control",
    "loose_end",
    "read_drawn_tags",
    "read_label_config",
    "read_value",
]
