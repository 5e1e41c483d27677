"""Where images come from, each source found by its file in `sources/`.

A file there holds an `ORDER` and an `open_source`, see `open_sources`. Nothing else
names its source.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import backend.images.sources
from backend.deadline import Deadline
from backend.http import HostRule, Resolve
from backend.types import LabelStudioAccess


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """One image that somebody wants.

    Attributes:
        address: as the task has it, less the blanks around it.
        access: the Label Studio that the task comes from.
        task_id: the task's id, None when unknown.
        deadline: for all of it, redirects and token included.
    """

    address: str
    access: LabelStudioAccess
    task_id: int | None
    deadline: Deadline


@dataclass(frozen=True, kw_only=True)
class SourceLimits:
    """What holds for all sources.

    Attributes:
        max_bytes: largest file.
        max_redirects: how many are followed for one image.
        image_hosts: the only hosts to read from besides Label Studio; empty for any
            public host.
        local_files_root: folder of Label Studio's local files, None where it is not
            shared.
        clock: monotonic seconds.
        resolve: host and port -> IP addresses.
    """

    max_bytes: int
    max_redirects: int
    image_hosts: tuple[HostRule, ...]
    local_files_root: Path | None
    clock: Callable[[], float]
    resolve: Resolve


class Source(Protocol):
    """One kind of address that can be read. Any thread may call."""

    def read(self, request: ImageRequest) -> bytes | None:
        """The file, None if the address is for another source.

        Raises:
            ImageError: if it is for this one and cannot be read.
        """


def open_sources(limits: SourceLimits) -> list[Source]:
    """Every source, in the order in which they are asked.

    Each file's `open_source(limits)` gives the source, or None where the limits leave
    nothing to read; the lowest `ORDER` is asked first.

    Raises:
        ValueError: if a limit is impossible for one of them.
    """
    folder = backend.images.sources
    modules = [
        importlib.import_module(f"{folder.__name__}.{found.name}")
        for found in pkgutil.iter_modules(folder.__path__)
    ]
    modules.sort(key=lambda module: module.ORDER)
    opened = (module.open_source(limits) for module in modules)
    return [source for source in opened if source is not None]
