"""A model's name in, where its files are and what identifies them out.

No torch here: a server answers which version it would serve before (and without)
loading a weight.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from segmenter.errors import WeightsNotFound

POCKET_DIR: Final = Path(__file__).parent / "pocket" / "weights"

_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)

# The head and the tail of a weight file tell revisions apart (header and last
# tensor); hashing gigabytes would cost what loading them costs.
_SAMPLE_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        name: readable, without directories: "pocket", "stable-diffusion-v1-5".
        location: a directory, or a hub id.
        revision: of a hub id; None for a directory.
    """

    name: str
    location: str
    revision: str | None = None

    @classmethod
    def parse(cls, model: str) -> "ModelSource":
        """Read "pocket", a directory, or a hub id with an optional @revision.

        Raises:
            WeightsNotFound: if it is none of these.
        """
        if model == "pocket":
            return cls(name="pocket", location=str(POCKET_DIR))
        directory = _as_directory(model)
        if directory is not None:
            return cls(
                name=directory.resolve().name or str(directory), location=str(directory)
            )
        hub_id, _, revision = model.partition("@")
        if not _HUB_ID.fullmatch(hub_id):
            raise WeightsNotFound(
                model, "there is no such directory, nor is it a hub id"
            )
        return cls(
            name=hub_id.split("/")[1], location=hub_id, revision=revision or "main"
        )

    @property
    def is_directory(self) -> bool:
        """Whether the files are on this machine, in a directory of their own."""
        return self.revision is None

    def fingerprint(self) -> str:
        """12 hex digits that change when the weights do.

        Of a directory: every file's name and size, and its first and last
        megabyte. Of a hub id: the id and the revision asked for, so pin one.
        """
        if self.is_directory:
            return _directory_fingerprint(self.location)
        return _hex12(f"{self.location}@{self.revision}".encode())


def _as_directory(model: str) -> Path | None:
    if not model:
        return None
    try:
        directory = Path(model).expanduser()
        return directory if directory.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        # No such user, too long a name, a zero byte: whatever it is, no directory.
        return None


@lru_cache(maxsize=8)
def _directory_fingerprint(location: str) -> str:
    digest = hashlib.sha256()
    root = Path(location)
    for path in sorted(root.rglob("*")):
        if path.suffix not in {".safetensors", ".json", ".txt"}:
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root).as_posix()}:{size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def _hex12(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
