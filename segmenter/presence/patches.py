"""Pictures in, what an image-text model knew of them and of each of their patches out.

Axis letters: V views, D width of an embedding, C channels, p patches along a side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.presence.models import ImageText

# Longest side by shortest of a picture, up to which it is looked at whole.
_NEARLY_SQUARE: Final = 1.25
_MOST_PARTS: Final = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What an image-text model knew of one picture.

    Attributes:
        embeddings: float32 (V, D) on the CPU, unit embeddings of what it looked at.
        patches: float32 (C, rows, columns) on the CPU, of the picture's parts.
    """

    embeddings: Tensor
    patches: Tensor


@torch.no_grad()
def look_at(
    image_text: ImageText, pictures: Sequence[NDArray[np.uint8]]
) -> tuple[Tensor, Tensor]:
    """Look at pictures in one pass.

    Returns:
        Unit embeddings, float32 (V, D); and what the last layer knew of each patch,
        float32 (V, C, p, p). Both on the CPU.
    """
    states: list[Tensor] = []

    def note(_: Any, __: Any, output: Any) -> None:
        states.append(output[0])

    prepared = image_text.image_processor(
        list(pictures), input_data_format="channels_last", return_tensors="pt"
    )
    hook = image_text.model.vision_model.register_forward_hook(note)
    try:
        features = image_text.model.get_image_features(
            prepared["pixel_values"].to(image_text.model.device)
        )
    finally:
        hook.remove()
    patches = states[0][:, 1:].float().cpu()  # (V, p * p, C), without the class token
    side = math.isqrt(patches.shape[1])
    return (
        F.normalize(pooled(features).float(), dim=-1).cpu(),
        patches.transpose(1, 2).reshape(len(patches), -1, side, side),
    )


def pooled(features: object) -> Tensor:
    """What a tower makes of its whole input."""
    # transformers 5 returns the tower's output object, whose pooled output is the
    # projected embedding; 4 returned the tensor itself.
    return torch.as_tensor(getattr(features, "pooler_output", features))


def square_parts(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Squares that cover an oblong picture, evenly along it; one that is not, whole."""
    rows, columns = pixels.shape[:2]
    short = min(rows, columns)
    starts = _starts((rows, columns))
    if not starts:
        return [pixels]
    if columns > rows:
        return [np.ascontiguousarray(pixels[:, s : s + short]) for s in starts]
    return [pixels[s : s + short] for s in starts]


def join_parts(
    patches: Tensor, size_yx: tuple[int, int], *, crops_centre: bool
) -> Tensor:
    """Lay what was known of `square_parts` out over the picture: (C, rows, columns).

    Args:
        patches: float32 (V, C, p, p), of each part.
        size_yx: rows and columns of the picture.
        crops_centre: whether the model sees the central square of a picture that is
            not quite one, rather than all of it, squashed.

    Returns:
        Patches of about the same size as the model's; what no part shows is as what is
        next to it.
    """
    short, long = min(size_yx), max(size_yx)
    is_wide = size_yx[1] >= size_yx[0]
    along = patches if is_wide else patches.transpose(2, 3)  # along the last axis
    side = along.shape[3]
    starts = _starts(size_yx) or [(long - short) // 2 if crops_centre else 0]
    seen_px = short if crops_centre or len(starts) > 1 else long
    n_along = round(side * long / short)
    columns = []
    for index in range(n_along):
        centre_px = (index + 0.5) * long / n_along
        part = min(
            range(len(starts)), key=lambda v: abs(starts[v] + seen_px / 2 - centre_px)
        )
        at = (centre_px - starts[part]) / seen_px * side - 0.5
        at = min(max(at, 0.0), side - 1.0)
        left = min(int(at), max(side - 2, 0))
        right = min(left + 1, side - 1)
        columns.append(
            along[part, :, :, left].lerp(along[part, :, :, right], at - left)
        )
    joined = torch.stack(columns, dim=2)
    return joined if is_wide else joined.transpose(1, 2)


def _starts(size_yx: tuple[int, int]) -> list[int]:
    """Where the parts of an oblong picture begin along it; none of one that is not."""
    short, long = sorted(size_yx)
    if long <= _NEARLY_SQUARE * short:
        return []
    count = min(math.ceil(long / short), _MOST_PARTS)
    return [round(index * (long - short) / (count - 1)) for index in range(count)]
