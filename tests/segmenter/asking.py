"""Ask a segmenter about one picture, and watch what that costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.predictor import Segmenter

LABELS = ("cat", "traffic light", "猫", "dog", "sofa")


@contextmanager
def calls_of(module: Any) -> Iterator[list[int]]:
    """The batch size of every forward of a module in the block."""
    sizes: list[int] = []
    handle = module.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len((*args, *kwargs.values())[0])),
        with_kwargs=True,
    )
    try:
        yield sizes
    finally:
        handle.remove()


def score_one(
    segmenter: Segmenter, picture: NDArray[np.uint8], labels: tuple[str, ...] = LABELS
) -> NDArray[np.float16]:
    """The maps of one picture."""
    (found,) = segmenter.score([picture], [labels])
    return found.maps
