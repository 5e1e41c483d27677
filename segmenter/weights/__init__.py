"""A part's name in, the part in memory out; device and precision are chosen here.

The only caller of `from_pretrained`, and the one place that turns what the libraries
below raise into `WeightsNotFound`. Refuses to know which parts a model has and what
they are for: that is the families' affair (`backbones`), and that of the models beside
them (`presence`).
"""

from segmenter.configs import read_config
from segmenter.weights.devices import (
    DTYPES,
    first_line,
    is_device_error,
    pick_device,
    pick_dtype,
    prepare,
    try_out,
)
from segmenter.weights.loading import (
    load_part,
    load_tokenizer,
    load_weights,
)

__all__ = [
    "DTYPES",
    "first_line",
    "is_device_error",
    "load_part",
    "load_tokenizer",
    "load_weights",
    "pick_device",
    "pick_dtype",
    "prepare",
    "read_config",
    "try_out",
]
