"""Labeling XML in, what people may draw with it out: images and labels. Pure.

Other than `parser.py` it asks for nothing that a model needs: what only people draw
(`model_skip`), and configs without any label, are fine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from backend.label_config.attributes import refusal
from backend.label_config.labels import labels_by_control
from backend.label_config.parser import parse_xml
from backend.regions import control_tags
from backend.types import ImageTag


@dataclass(frozen=True, kw_only=True)
class DrawnTags:
    """The tags of a config that regions on images come from.

    Attributes:
        images: every `<Image>` by its name, in the config's order.
        labels: what regions can be labelled with, each once, in the config's order.
    """

    images: Mapping[str, ImageTag]
    labels: tuple[str, ...]


def read_drawn_tags(label_config: str) -> DrawnTags:
    """Find the images of a config, and the labels of whatever is drawn on them.

    Raises:
        BadLabelConfig: if the XML cannot be read, or has no `<Image>`.
    """
    interface, root = parse_xml(label_config)
    images = {
        tag.name: ImageTag(
            name=tag.name,
            value=(tag.value or "").strip(),
            is_list="valueList" in tag.attr,
        )
        for tag in interface.objects
        if tag.tag.lower() == "image"
    }
    if not images:
        raise refusal("has no <Image> tag, and so nothing to draw on")
    drawing = set(_drawing_controls(interface, images))
    labels = _labels(root, drawing)
    return DrawnTags(images=images, labels=tuple(dict.fromkeys(labels)))


def _drawing_controls(interface: Any, images: Mapping[str, ImageTag]) -> Iterator[str]:
    """Names of the controls that label regions on images."""
    kinds = {"labels", *(tag.labels_type for tag in control_tags().values())}
    for control in interface.controls:
        if control.tag.lower() in kinds and set(control.to_name) & images.keys():
            yield control.name


def _labels(root: ElementTree.Element, controls: set[str]) -> Iterator[str]:
    for control, labels in labels_by_control(root).items():
        if control in controls:
            yield from labels
