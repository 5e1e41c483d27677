"""Files of Label Studio's local-files storage, read from a folder that is shared.

A path of `/data/local-files/?d=<path>` in, the bytes of a regular file below the
root out. Nothing outside of the root is opened: not by `..`, not by a link, and not
when a link is put there in the very moment of reading.
"""

import errno
import os
import posixpath
import stat
from pathlib import Path
from typing import Final

from backend.deadline import Deadline
from backend.errors import ImageError, ImageRefused, ImageTooLarge
from backend.images.source import ImageRequest, SourceLimits
from backend.label_studio import local_file

# What is not in the folder is asked from Label Studio.
ORDER: Final = 2

_PIECE_BYTES: Final = 1024 * 1024
_LONGEST_SHOWN: Final = 120
# To pass through a folder, it need not be readable. Linux alone tells these apart.
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
_FILE: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


def open_source(limits: SourceLimits) -> "LocalFiles | None":
    """See `open_sources`."""
    if limits.local_files_root is None:
        return None
    return LocalFiles(limits.local_files_root, max_bytes=limits.max_bytes)


class LocalFiles:
    """Thread-safe reader of one folder."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        """Read below `root`, which may appear later, as a mount does.

        Raises:
            ValueError: if `root` is the whole file system.
        """
        self._root = root
        self._max_bytes = max_bytes
        if root.resolve() == Path(root.resolve().anchor):
            raise ValueError(
                f"{str(root)!r} holds every file of this machine; name a folder that "
                f"holds images only"
            )

    def read(self, request: ImageRequest) -> bytes | None:
        """See `Source`; None for a file that is not in the folder, as well."""
        path = local_file(request.address, request.access)
        return None if path is None else self.read_file(path, request.deadline)

    def read_file(self, path: str, deadline: Deadline) -> bytes | None:
        """Read one file.

        Args:
            path: as Label Studio's address names it, decoded; always relative.
            deadline: for all of it.

        Returns:
            The whole file, None if there is none at that path.

        Raises:
            ImageRefused: if the path leads out of the root, or to no regular file.
            ImageTooLarge: if the file is larger than the limit.
            ImageError: if it cannot be read.
        """
        root = os.path.realpath(self._root)
        try:
            file = _open_below(root, self._real_path(root, path))
        except OSError as e:
            if e.errno in _ABSENT:
                return None
            if e.errno == errno.ENXIO:  # a socket
                raise self._not_a_file(path) from e
            raise self._unreadable(path, e) from e
        try:
            return self._read_open(file, path, deadline)
        except OSError as e:
            raise self._unreadable(path, e) from e
        finally:
            os.close(file)

    def _real_path(self, root: str, path: str) -> str:
        """The path below the root without links and dots, as Label Studio reads it."""
        if "\0" in path:
            raise ImageRefused(f"{_shown(path)} holds a zero byte. Import it again.")
        relative = posixpath.normpath(path).lstrip("/")
        real = os.path.realpath(os.path.join(root, relative))  # noqa: PTH118
        if os.path.commonpath([root, real]) != root:
            raise ImageRefused(
                f"{_shown(path)} leads out of LOCAL_FILES_DOCUMENT_ROOT "
                f"({self._root}). Move the file below that folder, or set "
                f"LOCAL_FILES_DOCUMENT_ROOT to a folder that holds it and what it "
                f"links to."
            )
        return os.path.relpath(real, root)

    def _read_open(self, file: int, path: str, deadline: Deadline) -> bytes:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise self._not_a_file(path)
        if status.st_size > self._max_bytes:
            raise self._too_large(path, f"{status.st_size:,}")
        data = bytearray()
        while piece := os.read(file, _PIECE_BYTES):
            data += piece
            if len(data) > self._max_bytes:  # it grows
                raise self._too_large(path, f"more than {self._max_bytes:,}")
            if deadline.remaining_s() == 0:
                raise ImageError(
                    f"{_shown(path)} could not be read from {self._root} within "
                    f"{deadline.limit_s:g} s. Check that disk, or raise "
                    f"FETCH_TIMEOUT_S."
                )
        return bytes(data)

    def _not_a_file(self, path: str) -> ImageRefused:
        return ImageRefused(
            f"{_shown(path)} below LOCAL_FILES_DOCUMENT_ROOT ({self._root}) is a "
            f"folder, pipe or device. Name an image file."
        )

    def _too_large(self, path: str, size: str) -> ImageTooLarge:
        return ImageTooLarge(
            f"{_shown(path)} has {size} bytes; the limit is {self._max_bytes:,}. "
            f"Use a smaller copy or raise IMAGE_MAX_BYTES."
        )

    def _unreadable(self, path: str, failure: OSError) -> ImageError:
        return ImageError(
            f"{_shown(path)} below LOCAL_FILES_DOCUMENT_ROOT ({self._root}) cannot be "
            f"read: {failure.strerror}. Let the user that this backend runs as read "
            f"it."
        )


def _open_below(root: str, path: str) -> int:
    """Open a file, following no link: whoever writes below the root could swap one in.

    Raises:
        OSError: if it cannot be opened, or a link is on the way.
    """
    folder = os.open(root, _FOLDER)
    try:
        *folders, name = path.split("/")
        for part in folders:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _shown(path: str) -> str:
    if len(path) > _LONGEST_SHOWN:
        path = path[: _LONGEST_SHOWN - 3] + "..."
    return f"The local file {path!r}"
