"""An auxiliary loss for the image towers of the pocket BLIP and CLIP.

From captions alone a vision transformer this small learns to tell 24 glyphs apart
only slowly. The scenes know what each patch shows, so a linear head, thrown away
after training, is asked to say it.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.pocket import WORDS
from segmenter.pocket.train.data import N_MAX, SceneSet

PATCH_PX: Final = 16
_OBJECT_WEIGHT: Final = 3.0


class PatchLoss(nn.Module):
    """What does each patch show? Cross-entropy against the shares it covers."""

    def __init__(self, scenes: SceneSet, width: int) -> None:
        super().__init__()
        self._coverage = scenes.coverage
        self._classes = torch.zeros(len(scenes.words), N_MAX, dtype=torch.long)
        for place, held in enumerate(scenes.words):
            numbers = [1 + WORDS.index(word) for word in held]
            self._classes[place, : len(held)] = torch.tensor(numbers)
        self._head = nn.Linear(width, 1 + len(WORDS))

    def forward(self, chosen: Tensor, hidden: Tensor) -> Tensor:
        """Score patches of the chosen scenes.

        Args:
            chosen: int64 (B,), scene numbers.
            hidden: (B, 1 + P, D), the tower's last states, class token first.
        """
        target = self._shares(chosen, round((hidden.shape[1] - 1) ** 0.5))
        said = self._head(hidden[:, 1:].float()).log_softmax(dim=-1)
        weight = 1 + (_OBJECT_WEIGHT - 1) * (1 - target[..., 0])
        surprise = -(target * said).sum(dim=-1)
        loss: Tensor = (surprise * weight).sum() / weight.sum()
        return loss

    def _shares(self, chosen: Tensor, side: int) -> Tensor:
        """(B, P, 1 + words): the share of each class in each patch."""
        cells = self._coverage[chosen].float()
        shares = F.adaptive_avg_pool2d(cells, side).flatten(2).transpose(1, 2)
        target = torch.zeros(*shares.shape[:2], 1 + len(WORDS))
        owners = self._classes[chosen][:, None].expand_as(shares)
        target.scatter_add_(2, owners, shares)
        target[..., 0] = (1 - shares.sum(dim=2)).clamp(min=0)
        return target
