"""The parts of the documents that are made of the code.

`make docs` (`python -m tests.reference_tables`) writes them anew between the markers
`<!-- NAME:begin -->` and `<!-- NAME:end -->` of the pages; a test fails while they
differ. So the code alone says what a variable, an attribute or an option does, and
which room imports which.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from backend.label_config.attributes import (
    CONTROL_ATTRIBUTES,
    LABEL_ATTRIBUTES,
    Attribute,
)
from backend.settings import Settings
from backend.settings.segmentation import SegmentationSettings
from segmenter import MODES, RECIPES, SegmenterOptions
from segmenter.terms import (
    CAPTIONER_TERMS,
    IMAGE_TEXT_TERMS,
    KNOWN_TERMS,
    POCKET_TERMS,
)
from tests.rooms import LEAVES, arrows, levels, purposes, reduced

ROOT: Final = Path(__file__).parents[1]


def settings_table() -> str:
    """Every environment variable that is read, those about masks in a second table."""
    about_masks = SegmentationSettings.model_fields
    rest = [
        field
        for name, field in Settings.model_fields.items()
        if name not in about_masks
    ]
    return "\n\n".join(
        [
            "### Server, Label Studio, images, cache",
            _table(_SETTINGS_HEAD, map(_settings_row, rest)),
            "### Model and masks",
            _table(_SETTINGS_HEAD, map(_settings_row, about_masks.values())),
        ]
    )


def attributes_table() -> str:
    """Every attribute that is read, of controls and of labels."""
    head = ("attribute", "default", "what it changes")
    return "\n\n".join(
        [
            "### On controls",
            _table(head, map(_attribute_row, CONTROL_ATTRIBUTES)),
            "### On a `<Label>`",
            _table(head, map(_attribute_row, LABEL_ATTRIBUTES)),
        ]
    )


def options_table() -> str:
    """Every field of `SegmenterOptions`, with its default in each mode."""
    by_mode = [SegmenterOptions(mode=mode) for mode in MODES]
    helps = _attribute_docs(SegmenterOptions)
    rows = [
        (
            f"`{field.name}`",
            *(_code(getattr(options, field.name)) for options in by_mode),
            helps[field.name],
        )
        for field in dataclasses.fields(SegmenterOptions)
    ]
    return _table(("option", *(f"`{mode}`" for mode in MODES), "what it is"), rows)


def recipes_table() -> str:
    """Every option of every recipe, with what speaks for it; like ones together."""
    names: dict[int, list[str]] = {}
    for name, recipe in RECIPES.items():
        names.setdefault(id(recipe), []).append(f"`{name}`")
    rows = [
        (", ".join(same), f"`{option}`", _code(choice.value), choice.reason)
        for recipe in {id(one): one for one in RECIPES.values()}.values()
        for same in [names[id(recipe)]]
        for option, choice in recipe.items()
    ]
    return _table(("recipe", "option", "value", "what speaks for it"), rows)


def terms_table() -> str:
    """Every model that is known by name, its licence and its gate."""
    rows = [
        (
            f"`{terms.model}`",
            terms.licence,
            "see its page" if terms.gate is None else terms.gate or "none",
            terms.note,
        )
        for terms in (POCKET_TERMS, *KNOWN_TERMS, IMAGE_TEXT_TERMS, CAPTIONER_TERMS)
    ]
    return _table(("model", "licence", "gate", "note"), rows)


def rooms_table(package: str) -> str:
    """The rooms of a package from the top down, and what each is for."""
    found = arrows(package)
    height = levels(found)
    what = purposes(package)
    rows = [
        (str(height.get(room, 1)), _room_name(package, room), what[room])
        for room in sorted(what, key=lambda room: (-height.get(room, 1), room))
    ]
    return _table(("level", "room", "what it is for"), rows)


def rooms_picture(package: str) -> str:
    """A Mermaid flowchart of the rooms, one box a level, the top first."""
    found = arrows(package)
    height = levels(found)
    lines = ["```mermaid", "flowchart TD"]
    for level in sorted(set(height.values()), reverse=True):
        lines.append(f'    subgraph level{level}["level {level}"]')
        lines += [
            f'        {_node(room)}["{_room_name(package, room, mark="")}"]'
            for room in sorted(height)
            if height[room] == level
        ]
        lines.append("    end")
    lines += [
        f"    {_node(room)} --> {_node(other)}"
        for room, other in sorted(reduced(found))
    ]
    count = (
        f"{len(height)} rooms on {max(height.values(), default=0)} levels, "
        f"{len(found)} arrows; drawn are the {len(reduced(found))} that no detour "
        f"through other rooms stands for."
    )
    return "\n".join([*lines, "```", "", count])


PARTS: Final[Mapping[tuple[str, str], Callable[[], str]]] = {
    ("docs/settings.md", "settings"): settings_table,
    ("docs/label-config.md", "attributes"): attributes_table,
    ("docs/modes.md", "options"): options_table,
    ("docs/modes.md", "recipes"): recipes_table,
    ("docs/models.md", "terms"): terms_table,
    ("docs/how-it-works.md", "backend"): lambda: rooms_picture("backend"),
    ("docs/how-it-works.md", "backend-rooms"): lambda: rooms_table("backend"),
    ("docs/how-it-works.md", "segmenter"): lambda: rooms_picture("segmenter"),
    ("docs/how-it-works.md", "segmenter-rooms"): lambda: rooms_table("segmenter"),
}


def renewed(text: str, name: str, part: str) -> str:
    """A page with one part written anew.

    Raises:
        ValueError: if the page lacks the markers, or has them twice.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"The page must hold {begin} and {end} once each.")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{part}\n\n{end}{rest.partition(end)[2]}"


def main() -> None:
    """Write all parts into their pages."""
    for (page, name), make in PARTS.items():
        path = ROOT / page
        path.write_text(renewed(path.read_text(), name, make()))


_SETTINGS_HEAD: Final = ("variable", "default", "what it changes")


def _settings_row(field: FieldInfo) -> tuple[str, ...]:
    first, *others = variable_names(field)
    name = f"`{first}`" + "".join(f" (or `{other}`)" for other in others)
    return name, _default(field), f"{_extra(field, 'help')} Use {field.description}."


def variable_names(field: FieldInfo) -> list[str]:
    """The names of an environment variable, the documented one first."""
    return [str(name) for name in field.validation_alias.choices]  # type: ignore[union-attr]


def _default(field: FieldInfo) -> str:
    """The default as a reader may write it."""
    shown = _extra(field, "shown")
    if shown:
        return shown
    if field.default is None or field.default is PydanticUndefined:
        return "unset"
    return _code(field.default)


def _extra(field: FieldInfo, key: str) -> str:
    extra = field.json_schema_extra
    return str(extra.get(key) or "") if isinstance(extra, dict) else ""


def _attribute_row(attribute: Attribute) -> tuple[str, ...]:
    first, *others = attribute.names
    name = f"`{first}`" + "".join(f" (or `{other}`)" for other in others)
    default = ""
    if attribute.variable is not None:
        field = next(
            field
            for field in Settings.model_fields.values()
            if attribute.variable in variable_names(field)
        )
        default = f"`{attribute.variable}`: {_default(field)}"
    return name, default, f"{attribute.help} Give {attribute.expects}."


def _attribute_docs(of: type) -> dict[str, str]:
    """The "Attributes:" of a class's docstring, one line each."""
    text = (inspect.getdoc(of) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(lines.split()) for name, lines in found}


def _code(value: Any) -> str:
    """A value in the spelling of the environment."""
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    if value is None or value == ():
        return "none"
    several = value if isinstance(value, tuple) else (value,)
    return f"`{','.join(map(_written, several))}`"


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )


def _node(room: str) -> str:
    return room.replace(" ", "_")


def _room_name(package: str, room: str, mark: str = "`") -> str:
    """A folder with a slash, a file with its ending."""
    if room == LEAVES:
        return room
    if room == package:
        return f"{mark}{package}{mark} (its door)"
    is_file = (ROOT / package / f"{room}.py").is_file()
    return f"{mark}{room}{'.py' if is_file else '/'}{mark}"


if __name__ == "__main__":
    main()
