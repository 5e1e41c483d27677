"""Addresses of images in, file names out that are unique in a data set."""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

# What file systems, and lists with one name a line, cannot hold.
_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"/\\|?*]+')
# Of the 255 bytes of a file name; a character takes up to four.
_LONGEST_STEM: Final = 50
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,5}")


class UniqueNames:
    """Gives each image a name: its file's own, or that and its task's number.

    Names differ in more than case and suffix: `labels/NAME.txt` is one file for both
    NAME.jpg and name.PNG on some disks.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, address: str, *, addition: str) -> tuple[str, str]:
        """Name an image.

        Args:
            address: where it is, in any way that Label Studio knows.
            addition: what tells it from all others, such as "task17".

        Returns:
            Its stem, and its suffix with the dot, or "" where none is known.
        """
        stem, suffix = _parts_of_name(address)
        for candidate in (stem, f"{stem}-{addition}" if stem else addition):
            if candidate and candidate.casefold() not in self._taken:
                self._taken.add(candidate.casefold())
                return candidate, suffix
        # Somebody's file has the very name that we would give.
        number = 2
        while (candidate := f"{stem}-{addition}-{number}").casefold() in self._taken:
            number += 1
        self._taken.add(candidate.casefold())
        return candidate, suffix


def _parts_of_name(address: str) -> tuple[str, str]:
    """Stem and suffix of the file that an address names; empty for `data:`."""
    if address.lower().startswith("data:"):
        return "", ""
    try:
        parts = urlsplit(address)
        query = parse_qs(parts.query)
    except ValueError:
        return "", ""
    # Label Studio's local files: /data/local-files/?d=folder/name.jpg
    path = query["d"][0] if "d" in query else unquote(parts.path)
    name = PurePosixPath(path.replace("\\", "/")).name
    suffix = PurePosixPath(name).suffix
    if not _SUFFIX.fullmatch(suffix):
        suffix = ""
    # JSON can spell a lone half of a character, which no file name can hold.
    whole = name.removesuffix(suffix).encode(errors="replace").decode()
    stem = _FORBIDDEN.sub("_", whole)[:_LONGEST_STEM]
    return stem.strip().strip("."), suffix
