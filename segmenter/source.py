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
POCKET_MMDIT_DIR: Final = POCKET_DIR.with_name("weights_mmdit")

BUNDLED_MODELS: Final = {"pocket": POCKET_DIR, "pocket-mmdit": POCKET_MMDIT_DIR}
"""Models that come with this package, by name."""

# What the second of them has of the first, under the names of Stable Diffusion 3.
_SHARED: Final = {
    "vae": "vae",
    "text_encoder": "text_encoder",
    "tokenizer": "tokenizer",
    "text_encoder_2": "image_text",
    "tokenizer_2": "image_text",
    "image_text": "image_text",
    "captioner": "captioner",
}

DENOISER_FOLDERS: Final = ("unet", "transformer")
"""Where diffusers' layout keeps the part that removes noise, by its kind."""

_PARTS: Final = (*DENOISER_FOLDERS, "vae", "text_encoder", "scheduler")
# What checkpoints in the original layout are called by.
_SINGLE_FILES: Final = frozenset({".safetensors", ".ckpt"})

_HUB_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)

# The head and the tail of a weight file tell revisions apart (header and last
# tensor); hashing gigabytes would cost what loading them costs.
_SAMPLE_BYTES: Final = 1 << 20
_READ_BY_LOADERS: Final = frozenset({".safetensors", ".json", ".txt"})


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
        """Read a bundled model's name, a directory, or a hub id and @revision.

        Raises:
            WeightsNotFound: if it is none of these.
        """
        if model in BUNDLED_MODELS:
            return cls(name=model, location=str(BUNDLED_MODELS[model]))
        directory = _as_directory(model)
        if directory is not None:
            return cls(
                name=directory.resolve().name or str(directory), location=str(directory)
            )
        if (file := _as_file(model)) is not None:
            raise WeightsNotFound(model, explain_single_file(file))
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

    @property
    def is_bundled(self) -> bool:
        """Whether it came with this package."""
        return self.location in map(str, BUNDLED_MODELS.values())

    def find_part(self, folder: str) -> tuple["ModelSource", str]:
        """The model and the folder that a part is to be read from.

        Its own but for the bundled models, of which the second has no copy of what it
        shares with the first.

        Args:
            folder: of the part, "" for the model's own.
        """
        if self.location == str(POCKET_MMDIT_DIR) and folder in _SHARED:
            return ModelSource.parse("pocket"), _SHARED[folder]
        return self, folder

    def fingerprint(self) -> str:
        """12 hex digits that change when the weights do.

        Of a directory in diffusers layout, that is with parts one level down: every
        file's name and size, and its first and last megabyte. Of a hub id: the id
        and the revision asked for, so pin one.

        Raises:
            WeightsNotFound: if a file of the directory may not be read.
        """
        if self.location == str(POCKET_MMDIT_DIR):
            shared = _directory_fingerprint(str(POCKET_DIR))
            return _hex12((_directory_fingerprint(self.location) + shared).encode())
        if self.is_directory:
            return _directory_fingerprint(self.location)
        return _hex12(f"{self.location}@{self.revision}".encode())


def find_single_file(source: ModelSource) -> Path | None:
    """The model that lies in a directory as one file, without any part's folder."""
    root = Path(source.location)
    if not source.is_directory or any((root / one).is_dir() for one in _PARTS):
        return None
    files = (path for path in sorted(root.glob("*")) if path.suffix in _SINGLE_FILES)
    return next(files, None)


def explain_single_file(file: Path) -> str:
    """Why a model that is one file is not read, and how to make a folder of it."""
    if file.suffix not in _SINGLE_FILES:
        return "it is a file, and no model"
    if file.suffix == ".safetensors":
        problem = "is one file, which holds neither tokenizer nor configurations"
    else:
        problem = "is a pickle, which may run code when it is read"
    how = f"StableDiffusionPipeline as P; P.from_single_file('{file}')"
    return (
        f"{file} {problem}; {advise_conversion(how)} (StableDiffusionXLPipeline for "
        f"SDXL)"
    )


def advise_conversion(how: str) -> str:
    """How to make a folder in diffusers layout of what is not.

    Args:
        how: what makes a pipeline, after "from diffusers import".
    """
    return (
        f"if you trust it, convert it once, on a machine that reaches the hub, by "
        f"python -c \"from diffusers import {how}.save_pretrained('NEW_FOLDER')\", "
        f"and take NEW_FOLDER"
    )


def _as_directory(model: str) -> Path | None:
    path = _as_path(model)
    return path if path is not None and path.is_dir() else None


def _as_file(model: str) -> Path | None:
    path = _as_path(model)
    return path if path is not None and path.is_file() else None


def _as_path(model: str) -> Path | None:
    """What is there by that name; None where nothing is."""
    if not model:
        return None
    try:
        path = Path(model).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        # No such user, too long a name, a zero byte: whatever it is, no path.
        return None


@lru_cache(maxsize=8)
def _directory_fingerprint(location: str) -> str:
    digest = hashlib.sha256()
    root = Path(location)
    # No deeper: a wrong MODEL must not become a walk through the whole disk.
    for path in sorted([*root.glob("*"), *root.glob("*/*")]):
        if path.suffix not in _READ_BY_LOADERS:
            continue
        name = path.relative_to(root).as_posix()
        try:
            # A folder, a pipe that would be waited for, or a link to nothing may bear
            # such a name too. What a part lacks, its loader says.
            if path.is_file():
                digest.update(name.encode() + _sample(path))
        except OSError as e:
            raise WeightsNotFound(
                location, f"{name} cannot be read ({e.strerror})"
            ) from e
    return digest.hexdigest()[:12]


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
        file.seek(max(0, size - _SAMPLE_BYTES))
        tail = file.read(_SAMPLE_BYTES)
    return f":{size}\n".encode() + head + tail


def _hex12(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
