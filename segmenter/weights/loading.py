"""A model's source and a folder in, one part in memory out. Calls `from_pretrained`.

Diffusers layout: each part lies in a folder of its own, with its configuration.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from segmenter.errors import WeightsNotFound
from segmenter.source import ModelSource

# What the libraries below raise for files that are missing, damaged or of another
# shape than they expect.
_LOADING_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    AttributeError,
    LookupError,
    SafetensorError,
)

# A bar per part for files that load in a blink; downloads keep theirs.
transformers_logging.disable_progress_bar()


def load_part(loader: Any, source: ModelSource, folder: str, **how: Any) -> Any:
    """Load one part of a model.

    Args:
        loader: the library's class, which has `from_pretrained`.
        source: of the whole model.
        folder: of the part, "" for the model's own.
        how: what else `from_pretrained` takes.

    Raises:
        WeightsNotFound: if the part is missing, damaged or out of reach; names the
            folder.
    """
    try:
        return loader.from_pretrained(
            source.location, subfolder=folder, revision=source.revision, **how
        )
    except _LOADING_ERRORS as error:
        where = f"{source.location}/{folder}" if folder else source.location
        raise WeightsNotFound(
            source.location, f"{where} did not load ({_first_line(error)})"
        ) from error


def load_tokenizer(
    loader: Any, source: ModelSource, folder: str, vocabulary: int
) -> Any:
    """Load a tokenizer, and refuse the empty one that transformers makes of nothing.

    Args:
        loader: the library's class.
        source: of the whole model.
        folder: of the tokenizer.
        vocabulary: tokens that the model reads.

    Raises:
        WeightsNotFound: if it does not load, or lacks most of its vocabulary.
    """
    tokenizer = load_part(loader, source, folder)
    # Special tokens may be few more or less than the model's; half of all is not.
    if len(tokenizer) < vocabulary / 2:
        raise WeightsNotFound(
            source.location,
            f"{source.location}/{folder} holds a tokenizer of {len(tokenizer)} tokens "
            f"for a model that reads {vocabulary}; a vocabulary file is missing",
        )
    return tokenizer


def read_config(source: ModelSource, folder: str) -> Mapping[str, Any] | None:
    """A part's configuration; None where there is none that can be read.

    Refuses nothing: what is wrong with a part, `load_part` says. Of a hub id, the file
    is fetched unless it is in the cache.
    """
    try:
        config = json.loads(_config_path(source, f"{folder}/config.json").read_bytes())
    except _LOADING_ERRORS:
        return None
    return config if isinstance(config, dict) else None


def _config_path(source: ModelSource, file: str) -> Path:
    if source.is_directory:
        return Path(source.location) / file
    cached = try_to_load_from_cache(source.location, file, revision=source.revision)
    if isinstance(cached, str):
        return Path(cached)
    return Path(hf_hub_download(source.location, file, revision=source.revision))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
