"""A text file in, its lines out, without the marks that editors leave unseen."""

import codecs
from pathlib import Path
from typing import Final

# Windows' Notepad puts a mark at the beginning and calls either "Unicode" or "UTF-8".
_UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The mark again, where files were joined, and blanks of no width. A name that began
# with one of these would look like another and be none.
_UNSEEN: Final = "\ufeff\u200b\u2060"


def read_lines(path: Path) -> list[str]:
    """The lines of a file without the blanks around them, empty ones included.

    Args:
        path: of a file in UTF-8, or in UTF-16 with its mark.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: if it is no such text.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig"
    return [_strip(line) for line in content.decode(encoding).splitlines()]


def _strip(line: str) -> str:
    """`str.strip`, until nothing unseen is left at either end."""
    stripped = line.strip().strip(_UNSEEN)
    return stripped if stripped == line else _strip(stripped)
