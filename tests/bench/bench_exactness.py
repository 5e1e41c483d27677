"""Paper mode at full size: `python -m tests.bench.bench_exactness`.

Random weights of Stable Diffusion 1.5's true shapes, those of attention enlarged,
because fresh ones attend almost evenly and stretching would show rounding alone. The
maps against the published recipe written out with explicit softmaxes in float64, whose
attention matrices are all kept (12 GB of memory); the largest difference is printed,
square and not. The small models of `tests/segmenter/test_paper_recipe.py` hold the
same in every test run.
"""

from typing import Final

import torch
from rich.console import Console
from rich.table import Table

from tests.bench.sd15 import stable_diffusion_15
from tests.segmenter.modes.test_paper import paper_map
from tests.segmenter.tiny_models import (
    PAPER_WEIGHTS,
    paper_style_maps,
    with_contrast,
)

_LATENTS_YX: Final = ((64, 64), (40, 64))


def main() -> None:
    """Compare both and print the table."""
    parts = stable_diffusion_15(torch.device("cpu"), torch.float32)
    unet = with_contrast(parts.unet)
    context = parts.text.encode_texts(["a photograph of cat and a dog"]).context
    read = torch.zeros(1, context.shape[1])
    read[0, 4] = 1
    table = Table("latent, rows x columns", "largest difference", title="Paper mode")
    for latent_yx in _LATENTS_YX:
        generator = torch.Generator().manual_seed(0)
        latent = torch.randn(1, 4, *latent_yx, generator=generator)
        with torch.no_grad():
            found = paper_style_maps(unet, latent, context, read)[0]
            plain = paper_map(unet, latent, context, [4], PAPER_WEIGHTS)
        difference = (found.double() - plain).abs().max()
        table.add_row(f"{latent_yx[0]} x {latent_yx[1]}", f"{difference:.1e}")
    Console(width=80).print(table)


if __name__ == "__main__":
    main()
