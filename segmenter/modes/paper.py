"""Paper mode: DiffSegmenter as published, one prompt and one pass per label.

Liberties that change nothing beyond float noise: no unconditional half, labels
batched, self-attention applied in blocks and never stored. Two that change masks a
little, and that the option `as_published` takes back: the latent's mean in place of a
sample, and antialiased shrinking (`tests/bench/bench_liberties.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmenter.backbones import PromptTokens, Sample, SampleReading
from segmenter.modes.features import cell_features
from segmenter.modes.layers import cell_layers, wordless_layers
from segmenter.modes.maps import fuse_levels, refine_over_windows, stretch
from segmenter.modes.passes import Passes, size_yx
from segmenter.stages import stage
from segmenter.text import Prompt, embed_prompts, encode_prompts
from segmenter.types import ImageEncoding


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperReading:
    """What was read of one image.

    Attributes:
        maps: float16 (L, Y, X), one per prompt, each stretched to [0, 1].
        features: what clicks need, see `cell_features`; None where there is no prompt.
        layers: what labels are taught by, see `cell_layers`. Both of the first label's
            passes: what drives a pass changes little of what tells objects apart.
        latents: of the windows, see `Passes.encode`.
    """

    maps: NDArray[np.float16]
    features: NDArray[np.float16] | None
    layers: NDArray[np.float16] | None
    latents: Tensor


def read_paper(
    passes: Passes,
    image: NDArray[np.uint8],
    prompts: Sequence[Prompt],
    *,
    patches: Tensor | None = None,
    known: ImageEncoding | None = None,
) -> PaperReading:
    """Read one image.

    Args:
        passes: of the model, under paper mode's options.
        image: uint8 (rows, columns, 3).
        prompts: one per label.
        patches: see `cell_layers`; of the whole image where there is no prompt.
        known: of the image, see `Passes.view`.
    """
    options = passes.options
    cells = passes.lay_out(size_yx(image))
    layout = passes.map_layout(cells)
    results = [np.zeros((0, *layout.canvas_yx), np.float16)]
    if not prompts:
        layers, clean = wordless_layers(passes, image, patches, known)
        return PaperReading(
            maps=results[0], features=None, layers=layers, latents=clean
        )
    features = layers = None
    (clean,) = passes.encode([passes.view(image, cells, known)])
    latents = passes.add_noise(clean, passes.noise(cells))
    for start in range(0, len(prompts), options.labels_per_pass):
        encoded = encode_prompts(
            passes.text.tokenizer, prompts[start : start + options.labels_per_pass]
        )
        text = embed_prompts(passes.text, encoded, emphasis=options.emphasis)
        of_label: dict[int, list[SampleReading]] = defaultdict(list)
        for latent in latents:
            samples = [
                Sample(
                    latent=latent,
                    text=text.sample(index),
                    tokens=PromptTokens(weights=encoded.read[index : index + 1]),
                )
                for index in range(len(encoded.read))
            ]
            for index, reading in enumerate(passes.read(samples)):
                of_label[index].append(reading)
        if start == 0:
            features = cell_features(of_label[0], layout)
            layers = cell_layers(of_label[0], layout, patches)
        for readings in of_label.values():
            with stage("maps"):
                maps = fuse_levels(readings, layout, stretches=True)
                for _ in range(options.self_attention_products):
                    maps = refine_over_windows(maps, readings, layout)
                results.append(stretch(maps).to("cpu", torch.float16).numpy())
    return PaperReading(
        maps=np.concatenate(results), features=features, layers=layers, latents=clean
    )
