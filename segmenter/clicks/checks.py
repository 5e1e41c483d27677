"""What a person asked for in, a refusal out where it makes no sense."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segmenter.errors import BadClick
from segmenter.types import Box, Click, ScoreMaps


def check_request(
    size_yx: tuple[int, int],
    clicks: Sequence[Click],
    boxes: Sequence[Box],
    start: NDArray[np.bool_] | None,
    maps: ScoreMaps | None,
    label: int | None,
) -> None:
    """Refuse what cannot be meant; see `refine_mask`.

    Raises:
        BadClick: if a click lies outside the image, or a box holds none of it.
        ValueError: if start or maps are of another size, or there is no such label.
    """
    rows, columns = size_yx
    for click in clicks:
        if not (0 <= click.y < rows and 0 <= click.x < columns):
            raise BadClick(
                f"A click lies at row {click.y:g} and column {click.x:g} of an image "
                f"of {rows} rows and {columns} columns. Click inside the image."
            )
    for box in boxes:
        if not (
            max(box.top, 0) < min(box.bottom, rows)
            and max(box.left, 0) < min(box.right, columns)
        ):
            raise BadClick(
                f"A box from row {box.top:g} and column {box.left:g} to row "
                f"{box.bottom:g} and column {box.right:g} holds nothing of an image of "
                f"{rows} rows and {columns} columns. Draw it over the image."
            )
    if start is not None and start.shape != size_yx:
        raise ValueError(f"The start mask is {start.shape}, the image {size_yx}.")
    if maps is not None and maps.size_yx != size_yx:
        raise ValueError(f"The maps are of {maps.size_yx}, the image is {size_yx}.")
    if label is not None and (maps is None or not 0 <= label < len(maps.labels)):
        n_labels = 0 if maps is None else len(maps.labels)
        raise ValueError(f"There is no label {label}; there are {n_labels}.")
