"""A folder in, which of its weight files to read out, or why none of them.

Only safetensors are read: a pickle may run code of whoever made it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segmenter.source import ModelSource, advise_conversion

_PICKLES: Final = frozenset({".bin", ".pt", ".pth"})
# model.safetensors, model.fp16.safetensors, model.fp16-00001-of-00002.safetensors,
# model-00001-of-00002.safetensors, model-00001-of-00002.fp16.safetensors
_WEIGHTS: Final = re.compile(
    r"(?:diffusion_pytorch_model|model)"
    r"(?:-\d+-of-\d+)?(?:\.(?P<variant>[\w]+?))?(?:-\d+-of-\d+)?\.safetensors"
)
# Other precisions of the same weights, the ones to take first in front. What else
# stands there (non_ema) are other weights.
_PRECISIONS: Final = ("fp32", "bf16", "fp16")


def find_variant(source: ModelSource, folder: str) -> str | None:
    """The variant to load where a part's plain weights are missing, else None.

    Args:
        source: of the model; of a hub id nothing is known beforehand.
        folder: of the part.
    """
    names = _file_names(source, folder)
    matches = [match for name in names if (match := _WEIGHTS.fullmatch(name))]
    variants = {match["variant"] for match in matches}
    if None in variants:
        return None
    return next((one for one in _PRECISIONS if one in variants), None)


def explain_missing_weights(source: ModelSource, folder: str) -> str | None:
    """Why there is nothing to read in a folder that does hold weights; else None."""
    names = _file_names(source, folder)
    if any(name.endswith(".safetensors") for name in names):
        return None
    pickles = [name for name in names if Path(name).suffix in _PICKLES]
    if not pickles:
        return None
    how = f"DiffusionPipeline as P; P.from_pretrained('{source.location}')"
    return (
        f"{source.location}/{folder} holds {pickles[0]} and no safetensors; such files "
        f"are pickles, which may run code when they are read, so they are refused. "
        f"If you trust it: {advise_conversion(how)}"
    )


def _file_names(source: ModelSource, folder: str) -> Sequence[str]:
    if not source.is_directory:
        return ()
    try:
        return sorted(path.name for path in (Path(source.location) / folder).iterdir())
    except OSError:
        return ()
