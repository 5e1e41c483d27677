"""Training scenes in memory, and the small habits every training loop shares.

Axis letters, here and in the loops beside this file:

    S  scenes     B  batch      N  objects of a scene (padded to N_MAX)
    Y, X  image pixels          h, w  latent grid
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from segmenter.pocket import TEST_SEED_START, render_scene

logger = logging.getLogger(__name__)

SIZE_PX: Final = 128
N_MAX: Final = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneSet:
    """Many rendered scenes.

    Attributes:
        images: uint8 (S, 3, Y, X).
        coverage: float16 (S, N, h, w) in [0, 1], the share of each latent cell
            that an object covers; zero rows where a scene has fewer objects.
        words: for each scene, its objects' words in the order of `coverage`.
    """

    images: Tensor
    coverage: Tensor
    words: tuple[tuple[str, ...], ...]

    @classmethod
    def render(
        cls,
        n_scenes: int,
        *,
        first_seed: int,
        cell_px: int,
        size_yx: tuple[int, int] = (SIZE_PX, SIZE_PX),
    ) -> "SceneSet":
        """Render scenes `first_seed` and following; none of the test split."""
        if first_seed + n_scenes > TEST_SEED_START:
            raise ValueError(
                f"Seeds {first_seed} to {first_seed + n_scenes} reach into the test "
                f"split, which starts at {TEST_SEED_START}."
            )
        rows, columns = (side // cell_px for side in size_yx)
        images = torch.empty(n_scenes, 3, *size_yx, dtype=torch.uint8)
        coverage = torch.zeros(n_scenes, N_MAX, rows, columns, dtype=torch.float16)
        words = []
        for i in range(n_scenes):
            scene = render_scene(first_seed + i, size_yx=size_yx)
            images[i] = torch.from_numpy(scene.image).permute(2, 0, 1)
            cells = scene.visible.reshape(-1, rows, cell_px, columns, cell_px)
            share = cells.mean(axis=(2, 4), dtype=np.float32)
            coverage[i, : len(share)] = torch.from_numpy(share)
            words.append(scene.words)
        return cls(images=images, coverage=coverage, words=tuple(words))


def to_model_range(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def steps_with_schedule(
    optimizer: torch.optim.Optimizer,
    n_steps: int,
    *,
    name: str,
    warmup: int = 100,
    first: int = 0,
) -> Iterator[int]:
    """Yield step numbers while a warm-up and cosine schedule drives the rate."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    started = time.monotonic()
    for step in range(first, n_steps):
        ramp = min(1.0, (step + 1) / warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * ramp * max(cosine, 0.01)
        yield step
    took_s = time.monotonic() - started
    logger.info("%s: %d steps, %.0f s", name, n_steps - first, took_s)


class Average:
    """Exponential moving average of a module's weights, for the saved copy."""

    def __init__(self, *modules: nn.Module, decay: float = 0.995) -> None:
        self._live = [p for module in modules for p in module.parameters()]
        self._mean = [p.detach().clone() for p in self._live]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Fold the live weights in; early steps count for more."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live, 1 - decay)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The average, to be kept."""
        return {"mean": self._mean}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Go on from one that was kept."""
        for mean, kept in zip(self._mean, state["mean"], strict=True):
            mean.copy_(kept)

    @torch.no_grad()
    def write_back(self) -> None:
        """Replace the live weights by their average."""
        for mean, live in zip(self._mean, self._live, strict=True):
            live.copy_(mean)
