"""A model's source and a folder in, one part in memory out. Calls `from_pretrained`.

Diffusers layout: each part lies in a folder of its own, with its configuration. A
model is loaded whole or not at all.
"""

import re
import threading
from collections.abc import Collection, Mapping
from typing import Any, Final

from huggingface_hub import constants
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from segmenter.errors import WeightsNotFound
from segmenter.source import ModelSource
from segmenter.weights.devices import first_line
from segmenter.weights.files import explain_missing_weights, find_variant

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

# While diffusers builds a model, whatever other threads build gets tensors without data
# (findings/diffusers-two-loads-at-once.sh): models are loaded one after the other.
_ONE_AT_A_TIME: Final = threading.Lock()

# Counted anew whenever a model is made: older checkpoints bear them, newer ones do not.
_RECOMPUTED: Final = re.compile(r"(?:.*\.)?position_ids")

# In what both libraries say of a repository without the file.
_ABSENT: Final = "does not appear to have"

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
    source, folder = source.find_part(folder)
    try:
        with _ONE_AT_A_TIME:
            return loader.from_pretrained(
                source.location, subfolder=folder, revision=source.revision, **how
            )
    except _LOADING_ERRORS as error:
        raise WeightsNotFound(
            source.location,
            f"{_place(source, folder)} did not load ({_reason(error)})",
        ) from error


def load_weights(loader: Any, source: ModelSource, folder: str, **how: Any) -> Any:
    """Load a part that has weights, all of them, out of safetensors.

    The libraries fill what a file lacks with random numbers and say so in a log; a
    model of that kind paints, differently after each start.

    Args:
        loader: the library's model class.
        source: of the whole model.
        folder: of the part, "" for the model's own.
        how: what else `from_pretrained` takes.

    Raises:
        WeightsNotFound: if the part is missing, damaged or out of reach, or one of its
            tensors is missing or of another shape; names the folder and the tensor.
    """
    source, folder = source.find_part(folder)
    if (reason := explain_missing_weights(source, folder)) is not None:
        raise WeightsNotFound(source.location, reason)
    if issubclass(loader, PreTrainedModel):
        # Listed below instead of in a log; diffusers names the tensor itself.
        how["ignore_mismatched_sizes"] = True
    model, told = _load_variant(
        loader, source, folder, use_safetensors=True, output_loading_info=True, **how
    )
    _check_whole(source, folder, told)
    return model


def _load_variant(loader: Any, source: ModelSource, folder: str, **how: Any) -> Any:
    """Load the plain weights, or those in half precision where there are no others."""
    variant = find_variant(source, folder)
    try:
        return load_part(loader, source, folder, variant=variant, **how)
    except WeightsNotFound as error:
        # Which files a hub id has shows when they are asked for. A hub that does not
        # answer is not waited for twice.
        is_absent = constants.HF_HUB_OFFLINE or _ABSENT in error.cause
        if source.is_directory or not is_absent:
            raise
        try:
            return load_part(loader, source, folder, variant="fp16", **how)
        except WeightsNotFound:
            raise error from None


def _check_whole(source: ModelSource, folder: str, told: Mapping[str, Any]) -> None:
    """Refuse a model some of whose weights are not those of its file.

    Args:
        source: of the whole model.
        folder: of the part.
        told: the libraries' loading info. Tied weights are not missing in it, and
            what a file has beside the model's own changes nothing.
    """
    missing = [key for key in told["missing_keys"] if not _RECOMPUTED.fullmatch(key)]
    if missing:
        raise WeightsNotFound(
            source.location,
            f"the weights in {_place(source, folder)} lack {_first_of(missing)}; the "
            f"copy is incomplete, or of another model than its config.json",
        )
    mismatched = {
        key: f"{key} is {tuple(found)} and should be {tuple(expected)}"
        for key, found, expected in told["mismatched_keys"]
    }
    if mismatched:
        raise WeightsNotFound(
            source.location,
            f"the weights in {_place(source, folder)} have other shapes than their "
            f"config.json says: {_first_of(mismatched.values())}",
        )


def _first_of(names: Collection[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{min(names)}{more}"


def load_tokenizer(
    loader: Any, source: ModelSource, folder: str, *, vocabulary: int, window: int
) -> Any:
    """Load a tokenizer, and refuse the empty one that transformers makes of nothing.

    Args:
        loader: the library's class.
        source: of the whole model.
        folder: of the tokenizer.
        vocabulary: tokens that the model reads.
        window: tokens of a text that the model reads at most; a tokenizer without
            tokenizer_config.json does not know, and would take any number.

    Raises:
        WeightsNotFound: if it does not load, lacks most of its vocabulary, or has
            more than twice as many tokens.
    """
    tokenizer = load_part(loader, source, folder)
    tokenizer.model_max_length = min(tokenizer.model_max_length, window)
    # Special tokens may be few more or less than the model's; half of all is not.
    if len(tokenizer) < vocabulary / 2:
        raise WeightsNotFound(
            source.location,
            f"{source.location}/{folder} holds a tokenizer of {len(tokenizer)} tokens "
            f"for a model that reads {vocabulary}; a vocabulary file is missing",
        )
    if len(tokenizer) > vocabulary * 2:
        raise WeightsNotFound(
            source.location,
            f"{source.location}/{folder} holds a tokenizer of {len(tokenizer)} tokens "
            f"for a model that reads {vocabulary}; it is another model's",
        )
    return tokenizer


def _place(source: ModelSource, folder: str) -> str:
    return f"{source.location}/{folder}" if folder else source.location


def _reason(error: Exception) -> str:
    line = first_line(error)
    # diffusers then tells programmers how to go on with random numbers.
    return line.partition(". If you want to instead overwrite randomly")[0]
