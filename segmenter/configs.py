"""A model's source in, what its configurations say out. No torch here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segmenter.source import ModelSource


def read_config(
    source: ModelSource,
    folder: str,
    name: str = "config.json",
    *,
    may_download: bool = True,
) -> Mapping[str, Any] | None:
    """A part's configuration; None where there is none that can be read.

    Refuses nothing: what is wrong with a part, its loader says.

    Args:
        source: of the whole model.
        folder: of the part, "" for the model's own.
        name: of the file.
        may_download: of a hub id, fetch a file that is not in the cache. Where the hub
            does not answer, that takes half a minute.
    """
    source, folder = source.find_part(folder)
    file = f"{folder}/{name}" if folder else name
    try:
        path = _config_path(source, file, may_download)
        config = None if path is None else json.loads(path.read_bytes())
    # What the file system, the hub's library and JSON raise.
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, LookupError):
        return None
    return config if isinstance(config, dict) else None


def _config_path(source: ModelSource, file: str, may_download: bool) -> Path | None:
    if source.is_directory:
        return Path(source.location) / file
    # Brings an HTTP client along, which a folder does without.
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(source.location, file, revision=source.revision)
    if isinstance(cached, str):
        return Path(cached)
    if not may_download:
        return None
    return Path(hf_hub_download(source.location, file, revision=source.revision))
