"""A part's name in, the part in memory out; device and precision are chosen here.

The only caller of `from_pretrained`, and the one place that turns what the libraries
below raise into `WeightsNotFound`. Refuses to know which parts a model has and what
they are for: that is the families' affair (`backbones`), and that of the models beside
them (`presence`).
"""

from segmenter.weights.devices import DTYPES, pick_device, pick_dtype, prepare
from segmenter.weights.loading import load_part, load_tokenizer, read_config

__all__ = [
    "DTYPES",
    "load_part",
    "load_tokenizer",
    "pick_device",
    "pick_dtype",
    "prepare",
    "read_config",
]
