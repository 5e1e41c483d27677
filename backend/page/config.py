"""Label configs for the playground: of typed labels, with thresholds, for any file.

What is tried is what is shown to be copied: a slider writes an attribute, and the
config then goes the way of every other. Pure.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final
from xml.etree import ElementTree

from backend.errors import BadRequest

IMAGE_FIELD: Final = "image"
_DECLARATION: Final = re.compile(r"\A\s*<\?xml\s[^>]*\?>")


def config_of_labels(text: str) -> str:
    """A label config with a brush for typed labels.

    Args:
        text: labels, each once, with commas or line breaks between.

    Raises:
        BadRequest: if there is none.
    """
    names = dict.fromkeys(filter(None, map(str.strip, re.split(r"[,\n]", text))))
    if not names:
        raise BadRequest(
            "There are no labels. Type what to look for, one a line, such as cat."
        )
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value=f"${IMAGE_FIELD}")
    brush = ElementTree.SubElement(view, "BrushLabels", name="tag", toName="image")
    for name in names:
        ElementTree.SubElement(brush, "Label", value=name)
    return _written(view)


def with_attributes(
    config: str, controls: Collection[str], attributes: Mapping[str, str]
) -> str:
    """The config with attributes on some of its tags, by name; as it is for none."""
    if not attributes:
        return config

    def change(tag: ElementTree.Element) -> None:
        if tag.get("name") in controls:
            tag.attrib.update(attributes)

    return _changed(config, change)


def for_any_picture(config: str) -> str:
    """The config with each `<Image>` showing the one picture of `IMAGE_FIELD`."""

    def change(tag: ElementTree.Element) -> None:
        if tag.tag.lower() == "image":
            for name in [n for n in tag.attrib if n.lower() in {"value", "valuelist"}]:
                del tag.attrib[name]
            tag.set("value", f"${IMAGE_FIELD}")

    return _changed(config, change)


def _changed(config: str, change: Callable[[ElementTree.Element], None]) -> str:
    """The config with every tag changed; what cannot be read is left to its reader."""
    try:
        # One that has it would have its comments dropped.
        builder = ElementTree.TreeBuilder(insert_comments=True)
        parser = ElementTree.XMLParser(target=builder)
        view = ElementTree.fromstring(_DECLARATION.sub("", config), parser)
    except ElementTree.ParseError:
        return config
    for tag in view.iter():
        if isinstance(tag.tag, str):
            change(tag)
    return ElementTree.tostring(view, encoding="unicode")


def _written(view: ElementTree.Element) -> str:
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")
