"""The formats that data sets are written in, each a file in `formats/`.

A file there holds a `FORMAT`, and is called as `--format` is.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import backend.export.formats
from backend.export.classes import Classes
from backend.export.pictures import Picture


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What will be written of a picture.

    Attributes:
        content: as the format's own writer knows it.
        n_regions: how many regions are in it; those without a pixel are not.
    """

    content: Any
    n_regions: int


class Writer(Protocol):
    """Writes one data set into a folder that it has for itself."""

    def encode(self, picture: Picture) -> Encoded:
        """What will be written of a picture; nothing is written yet.

        Raises:
            BadMask: if one of its regions cannot be read.
            BadTask: if the format cannot hold it.
        """
        ...

    def add(self, picture: Picture, encoded: Encoded) -> None:
        """Write what was encoded."""
        ...

    def finish(self) -> None:
        """Write what is known at the end only; called once."""
        ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of data set.

    Attributes:
        images_folder: where in it images lie.
        contents: all files and folders that it may have at its top.
        open: a folder that is there, and the labels, to what writes there.
    """

    images_folder: str
    contents: frozenset[str]
    open: Callable[[Path, Classes], Writer]


@functools.cache
def known_formats() -> Mapping[str, Format]:
    """Every format by its name."""
    names = sorted(
        found.name for found in pkgutil.iter_modules(backend.export.formats.__path__)
    )
    return {
        name: importlib.import_module(f"backend.export.formats.{name}").FORMAT
        for name in names
    }
