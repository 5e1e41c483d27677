"""The labels of a label config, of its own or out of a task's data. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from backend.label_config.attributes import is_skipped, read_label
from backend.label_config.task_data import read_value
from backend.types import Label


def labels_by_control(
    root: ElementTree.Element,
) -> Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]:
    """Attributes of all `<Label>`s by control and by what regions answer with.

    Two labels may share an alias: both are looked for, one name is answered.
    """
    found: defaultdict[str, dict[str, list[Mapping[str, str]]]] = defaultdict(dict)

    def visit(element: ElementTree.Element, control: str) -> None:
        if element.get("name") and element.get("toName"):
            control = element.get("name", "")
        # As the SDK has it: the alias, else the value; neither is no label.
        name = element.get("alias") or element.get("value")
        if element.tag == "Label" and control and name is not None:
            found[control].setdefault(name, []).append(element.attrib)
        for child in element:
            visit(child, control)

    visit(root, "")
    return found


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
