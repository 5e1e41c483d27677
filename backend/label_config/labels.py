"""The labels of a label config, of its own or out of a task's data. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from backend.label_config.attributes import is_skipped, read_label
from backend.label_config.tags import Tag, read_tags
from backend.label_config.task_data import fill_in, read_value
from backend.types import Label


def labels_by_control(
    root: ElementTree.Element,
) -> Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]:
    """Attributes of all `<Label>`s by control and by what regions may answer with.

    Two labels may share an alias: both are looked for, one name is answered. One that
    the editor and the SDK read differently stands under both names.
    """
    found: defaultdict[str, dict[str, list[Mapping[str, str]]]] = defaultdict(dict)
    for tag in label_tags(read_tags(root)):
        for name in {editors_name(tag), strict_name(tag) or editors_name(tag)}:
            found[tag.control].setdefault(name, []).append(tag.attributes)
    return found


def label_tags(tags: Iterator[Tag]) -> Iterator[Tag]:
    """Those of labels that belong to a control."""
    return (tag for tag in tags if tag.kind == "label" and tag.control)


def editors_name(tag: Tag) -> str:
    """What the editor stores for a label; "" for one without a name."""
    return tag.attributes.get("alias") or tag.attributes.get("value") or ""


def strict_name(tag: Tag) -> str | None:
    """What the SDK, and so strict validation, has for a label; None for nothing."""
    if tag.element != "Label":
        return None
    return tag.written.get("alias") or tag.written.get("value")


def answered_name(tag: Tag, strict_names: Collection[str]) -> str | None:
    """What regions of a label answer with; None if nothing pleases all who read it.

    Args:
        tag: of the label.
        strict_names: of all labels that the SDK finds in the control. If it finds
            none, it takes any.
    """
    name, strict = editors_name(tag), strict_name(tag)
    if not strict_names or not name:
        return name
    # The editor finds a label by either.
    shown = {tag.attributes.get("alias"), tag.attributes.get("value")}
    return strict if strict in strict_names and strict in shown else None


def dynamic_labels(value: str, data: Mapping[str, Any]) -> Iterator[Label]:
    """Labels out of a task: a list of {"value": "cat"}, as the editor reads it."""
    entries = read_value(value, data)
    named: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, Mapping) or is_skipped(entry):
            continue
        name = entry.get("alias") or entry.get("value")
        if isinstance(name, str) and name and _is_whole(name):
            named.setdefault(name, []).append(entry)
    for name, same in named.items():
        label = merge_labels(name, same, f"label {name!r} in {value}")
        if label is not None:
            yield label


def with_texts_of(label: Label, data: Mapping[str, Any]) -> Label:
    """The label with what a task's data holds in place of each "$field" it asks for.

    The editor shows `<Label value="$name">` so, and stores it as it is written.
    """
    prompts = tuple(dict.fromkeys(fill_in(prompt, data) for prompt in label.prompts))
    return label if prompts == label.prompts else replace(label, prompts=prompts)


def merge_labels(
    name: str, tags: Sequence[Mapping[str, Any]], where: str
) -> Label | None:
    """One label out of all that share a name, None if none has a readable prompt."""
    read = [read_label(name, attributes, where) for attributes in tags]
    labels = [label for label in read if label is not None]
    if not labels:
        return None
    prompts = dict.fromkeys(prompt for label in labels for prompt in label.prompts)
    return replace(labels[0], prompts=tuple(prompts))


def _is_whole(name: str) -> bool:
    """JSON can spell a lone half of a surrogate pair, which no answer can hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
