"""A folder that is there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import SettingsError


@contextmanager
def whole_folder(
    out: Path, *, replaces: bool, contents: frozenset[str]
) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` if the block ends well.

    What is at `out` stays until then, and for good if the block fails.

    Args:
        out: a folder, empty or not yet there.
        replaces: whether it may be one with an earlier export in it.
        contents: names of all that such an export may have at its top; nothing else
            is ever removed.

    Raises:
        SettingsError: if `out` cannot be that folder, or cannot be written.
    """
    out = out.absolute()
    _check(out, replaces, contents)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as scratch:
            # One level below: a temporary folder is closed to everybody else.
            draft = Path(scratch) / "new"
            draft.mkdir()
            yield draft
            _check(out, replaces, contents)
            _put_in_place(draft, out, Path(scratch) / "old")
    except OSError as error:
        raise SettingsError(
            f"--out {out} cannot be written: {error.strerror or error}."
        ) from error


def _check(out: Path, replaces: bool, contents: frozenset[str]) -> None:
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir() or os.path.ismount(out):
        raise SettingsError(
            f"--out {out} is no folder that can be replaced (a file, a link, or the "
            f"root of a disk). Name a folder in it, or beside it."
        )
    found = sorted(path.name for path in out.iterdir())
    strange = [name for name in found if name not in contents]
    if found and not replaces:
        raise SettingsError(
            f"--out {out} is not empty ({', '.join(found[:5])}). Name another folder, "
            f"or give --force to replace an earlier export."
        )
    if strange:
        raise SettingsError(
            f"--out {out} holds what no export of this format writes "
            f"({', '.join(strange[:5])}), and --force would remove it. Name another "
            f"folder."
        )


def _put_in_place(draft: Path, out: Path, aside: Path) -> None:
    if not out.exists():
        draft.rename(out)
        return
    out.rename(aside)
    try:
        draft.rename(out)
    except OSError:
        aside.rename(out)
        raise
    shutil.rmtree(aside)
