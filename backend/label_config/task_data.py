"""What a tag's `value` refers to in a task's data, and its images. Pure.

The editor's own rule (its `parseValue`): a value that is nothing but "$path" is
what lies at the path, of any kind; a longer text has each "$path" in it filled in.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backend.errors import BadTask
from backend.types import ImageTag

# Letters of ASCII alone, as in the editor.
_REFERENCE: Final = re.compile(r"\$[\w[\].{}]+", re.ASCII)
_STEP: Final = re.compile(r"[^.[\]]+")
# Of a template for an address: "$folder/$name?small".
_ADDRESS_CHARACTERS: Final = frozenset("/?#&=:%$")


def refers_to_data(value: str) -> bool:
    """Say whether a tag's `value` takes anything from the task."""
    return _REFERENCE.search(value) is not None


def read_value(value: str, data: Mapping[str, Any]) -> Any:
    """Look up what a tag's `value` stands for in one task.

    Args:
        value: such as "$image", "$pages[0].url" or "https://host/$name?small".
        data: the task's data.

    Returns:
        What the path leads to, None where it leads nowhere; a text where `value`
        is more than one reference.
    """
    found = _REFERENCE.match(value)
    if found and found[0] == value:
        return _look_up(value[1:], data)
    return _REFERENCE.sub(lambda reference: _text(reference[0], data), value)


def lacks_a_field(value: str, data: Mapping[str, Any]) -> bool:
    """Whether any "$path" in a tag's `value` leads nowhere in this task."""
    paths = [reference[1:] for reference in _REFERENCE.findall(value)]
    return any(_look_up(path, data) is None for path in paths)


def fill_in(text: str, data: Mapping[str, Any]) -> str:
    """The text with each "$path" in it filled in; as it is where the task cannot."""
    if not refers_to_data(text) or lacks_a_field(text, data):
        return text
    found = read_value(text, data)
    return str(found).strip() or text if isinstance(found, str | int | float) else text


def loose_end(value: str) -> str | None:
    """What is wrong with a name that no "$path" can spell: "$image-url".

    Returns:
        A sentence, None for a value that is not one.
    """
    found = _REFERENCE.match(value)
    rest = value[found.end() :] if found else ""
    if not found or not rest or _ADDRESS_CHARACTERS & set(rest):
        return None
    return (
        f'value="{value}" reads the field {found[0][1:]!r} and adds {rest!r}, in the '
        f"editor as well, since the name of a field is letters a to z, digits and _ "
        f"there; rename the field in the tasks' data and here"
    )


def image_addresses(image: ImageTag, data: Any) -> Iterator[tuple[int | None, str]]:
    """Page index and address of each image; pages without an address are left out.

    A task may lack one of several images: the others are used. An image that has no
    pages has the index None.

    Raises:
        BadTask: if what lies there is no address, or several where one is shown.
    """
    if lacks_a_field(image.value, data):
        return
    value = read_value(image.value, data)
    pages = value if isinstance(value, list) else [value]
    if len(pages) > 1 and not image.is_list:
        raise BadTask(
            f"The task's data has {len(pages)} images in {image.value!r}, of which "
            f"<Image name={image.name!r}> shows one; write "
            f'valueList="{image.value}" instead of value.'
        )
    for index, address in enumerate(pages):
        if address is None or (isinstance(address, str) and not address.strip()):
            continue
        if not isinstance(address, str):
            raise BadTask(
                f"The task's data has {type(address).__name__} {str(address)[:60]!r} "
                f"in {image.value!r}, where the address of an image is expected."
            )
        yield (index if image.is_list else None), address


def _look_up(path: str, data: Any) -> Any:
    """Follow "a.b[0].c"; a key that is spelled like a path comes first."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    for step in _STEP.findall(path):
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and step.isascii() and step.isdigit():
            data = data[int(step)] if int(step) < len(data) else None
        else:
            return None
    return data


def _text(reference: str, data: Mapping[str, Any]) -> str:
    found = _look_up(reference[1:], data)
    return "" if found is None else str(found)
