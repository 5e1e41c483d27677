"""A package's sources in, its rooms and the arrows between them out.

A sub-package is a room. Of the files beside them, one that imports a room is a room of
its own (it puts others together); the others are leaf files, which are one room named
`LEAVES`. The package's own `__init__` is a room if it hands on what others define.
Reads imports as they are written, those for type checking among them; imports nothing.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LEAVES: Final = "leaf files"

Arrow = tuple[str, str]


def arrows(package: str, root: Path = ROOT) -> set[Arrow]:
    """Which room imports which.

    Args:
        package: name of a folder in `root`.
        root: of the repository.

    Returns:
        Pairs of an importing room and an imported one, never of a room and itself.
    """
    return _House(root, package).arrows


def levels(found: Iterable[Arrow]) -> dict[str, int]:
    """How far each room is above the ground: 1 for those that import no other.

    Raises:
        CycleError: naming the rooms, if some import each other.
    """
    imported = _imported_by_room(found)
    height: dict[str, int] = {}
    for room in TopologicalSorter(imported).static_order():
        height[room] = 1 + max((height[other] for other in imported[room]), default=0)
    return height


def reduced(found: Iterable[Arrow]) -> set[Arrow]:
    """The arrows that no detour through other rooms stands for.

    Raises:
        CycleError: as `levels` does.
    """
    imported = _imported_by_room(found)
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(imported).static_order():
        below[room] = imported[room].union(*(below[other] for other in imported[room]))
    return {
        (room, other)
        for room, others in imported.items()
        for other in others
        if not any(other in below[between] for between in others)
    }


def purposes(package: str, root: Path = ROOT) -> dict[str, str]:
    """The first sentence of each room's docstring; of leaf files, their names."""
    house = _House(root, package)
    found = {
        room: _first_sentence(module)
        for name, module in house.modules.items()
        if (room := house.room_of(name)) not in {LEAVES, None}
        and module.name != "__main__.py"
        and (name in {package, f"{package}.{room}"})
    }
    leaves = sorted(house.modules[name].name for name in house.leaves)
    if leaves:
        found[LEAVES] = ", ".join(f"`{name}`" for name in leaves)
    return {str(room): purpose for room, purpose in found.items()}


class _House:
    """One package: its modules, who lives where, and who imports whom."""

    def __init__(self, root: Path, package: str) -> None:
        self.package = package
        self.modules = dict(_modules(root, package))
        self._imports = {
            name: {self._module_of(asked) for asked in _asked(name, path)}
            for name, path in self.modules.items()
        }
        self._folders = {
            name.split(".")[1]
            for name, path in self.modules.items()
            if name.count(".") > (path.name != "__init__.py")
        }
        self.leaves = self._find_leaves()
        self.arrows = {
            (str(room), str(other))
            for name, asked in self._imports.items()
            for found in asked
            if (room := self.room_of(name)) is not None
            and (other := self.room_of(found)) is not None
            and room != other
        }

    def room_of(self, module: str | None) -> str | None:
        """The room of a module; None for what is no part of the house."""
        if module is None or module.endswith(".__main__"):
            return None
        if module == self.package:
            return None if self._is_bare(module) else module
        top = module.split(".")[1]
        return LEAVES if f"{self.package}.{top}" in self.leaves else top

    def _find_leaves(self) -> set[str]:
        """Files beside the rooms that import none, nor a file that does."""
        leaves = {
            name
            for name in self.modules
            if name.count(".") == 1
            and name.split(".")[1] not in {*self._folders, "__main__"}
        }
        # A package that hands on nothing is no room to import either.
        known = {None} | ({self.package} if self._is_bare(self.package) else set())
        while climbing := {
            name for name in leaves if self._imports[name] - leaves - known
        }:
            leaves -= climbing
        return leaves

    def _is_bare(self, module: str) -> bool:
        return not self._imports[module] - {None}

    def _module_of(self, asked: str) -> str | None:
        """The module that a dotted name leads to: itself, or the one that holds it."""
        while asked and asked not in self.modules:
            asked = asked.rpartition(".")[0]
        return asked or None


def _modules(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def _asked(module: str, path: Path) -> Iterator[str]:
    """Dotted names that a file imports."""
    around = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                levels_up = around.split(".")
                above = levels_up[: len(levels_up) - node.level + 1]
                source = ".".join([*above, *([source] if source else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _imported_by_room(found: Iterable[Arrow]) -> Mapping[str, set[str]]:
    imported: dict[str, set[str]] = {}
    for room, other in sorted(found):
        imported.setdefault(room, set()).add(other)
        imported.setdefault(other, set())
    return imported


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")
