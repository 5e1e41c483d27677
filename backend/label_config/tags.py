"""A label config's XML in, its tags as Label Studio's editor reads them out. Pure.

The editor takes the names of tags and attributes in any case, and a text inside of a
tag for its `value` (its `tagIntoObject`). The SDK, and the server's strict validation
with it, know `Label`, `name`, `toName`, `value` and `alias` spelled just so. Both
readings are kept, since a region must please both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Tag:
    """One tag.

    Attributes:
        element: as it is written, "BrushLabels".
        attributes: by their names in lower case, as the editor reads them.
        written: the same by their names as they are written, as the SDK reads them.
        is_repeated: whether it lies inside a `<Repeater>`.
        control: name of the nearest tag around it that has `name` and `toName`.
    """

    element: str
    attributes: Mapping[str, str]
    written: Mapping[str, str]
    is_repeated: bool
    control: str

    @property
    def kind(self) -> str:
        """The element in lower case, by which the editor knows it."""
        return self.element.lower()

    @property
    def name(self) -> str:
        """What regions call it, "" for none."""
        return self.attributes.get("name", "")

    @property
    def to_name(self) -> tuple[str, ...]:
        """Names of what it labels, none where it does not say."""
        return tuple(filter(None, self.attributes.get("toname", "").split(",")))

    def __str__(self) -> str:
        """As it is written, less all that is of no account here."""
        told = {"name", "toname", "value", "valuelist", "alias"}
        shown = [
            f'{name}="{value[:_SHOWN_CHARACTERS]}"'
            for name, value in self.written.items()
            if name.lower() in told
        ]
        return f"<{' '.join([self.element, *shown])}>"


def read_tags(root: ElementTree.Element) -> Iterator[Tag]:
    """Every tag, in the config's order."""
    return _read(root, is_repeated=False, control="")


def _read(
    element: ElementTree.Element, *, is_repeated: bool, control: str
) -> Iterator[Tag]:
    # Comments and processing instructions have a function for a tag.
    if isinstance(element.tag, str):
        tag = Tag(
            element=element.tag,
            attributes=_attributes(element),
            written=element.attrib,
            is_repeated=is_repeated,
            control=control,
        )
        yield tag
        if tag.name and tag.to_name:
            control = tag.name
        is_repeated = is_repeated or tag.kind == "repeater"
    for child in element:
        yield from _read(child, is_repeated=is_repeated, control=control)


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    attributes = {name.lower(): value for name, value in element.attrib.items()}
    text = (element.text or "").strip()
    if text and not len(element):
        attributes["value"] = text
    return attributes
