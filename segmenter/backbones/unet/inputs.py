"""What SDXL's U-Net wants beside latents and text.

Axis letters: B texts, P width of a text's summary.
"""

from typing import Any

import torch
from torch import Tensor


def added_conditions(
    unet: Any, pooled: Tensor | None, side_yx: tuple[int, int]
) -> dict[str, Tensor] | None:
    """What SDXL's U-Net wants beside the context; None for the others.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        pooled: float (B, P), `TextEncoding.pooled`.
        side_yx: rows and columns of the picture in pixels, taken for the original's,
            nothing of which is cut off.
    """
    if unet.config.addition_embed_type != "text_time" or pooled is None:
        return None
    sizes = torch.tensor([*side_yx, 0, 0, *side_yx], dtype=pooled.dtype)
    return {
        "text_embeds": pooled,
        "time_ids": sizes.to(pooled.device).expand(len(pooled), -1),
    }
