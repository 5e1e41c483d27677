"""Everything that changes a prediction in, the `model_version` that names it out."""

import hashlib
from collections.abc import Mapping

from segmenter import Mode, ModelSource, SegmenterOptions

# Raise it when the same score maps are cut, encoded or scored in another way.
_CUT_REVISION = 4


def model_version(
    source: ModelSource,
    options: Mapping[Mode, SegmenterOptions],
    mode: Mode,
    config_fingerprint: str = "",
    *,
    dtype: str = "auto",
) -> str:
    """A readable name and a hash of everything that changes a prediction.

    `/setup` and `/predict` both answer with it: were they to differ, Label Studio
    would ask for the same predictions for ever.

    Args:
        source: of the weights.
        options: of each mode, because each control may ask for its own.
        mode: of the controls that do not.
        config_fingerprint: of the label config, its controls' modes among it; ""
            where there is none.
        dtype: of the model, as the setting has it: which one "auto" stands for is
            known when the model is loaded, and the version is told before.
    """
    parts = (
        weights_fingerprint(source, dtype),
        *(own.maps_fingerprint() for own in options.values()),
        config_fingerprint,
        str(_CUT_REVISION),
    )
    digest = hashlib.sha256(":".join(parts).encode()).hexdigest()[:8]
    return f"diffsegmenter-{source.name}-{mode}-{digest}"


def weights_fingerprint(source: ModelSource, dtype: str) -> str:
    """Names weights in the precision that they compute in: each rounds its own way."""
    fingerprint = source.fingerprint()
    return fingerprint if dtype == "auto" else f"{fingerprint}:{dtype}"
