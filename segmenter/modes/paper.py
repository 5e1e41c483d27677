"""Paper mode: DiffSegmenter as published, one prompt and one U-Net pass per label.

Liberties that change nothing beyond float noise: no unconditional half, labels
batched, self-attention applied in blocks and never stored.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from segmenter.backbones.unet.reading import OwnRows, Sample, SampleReading
from segmenter.modes.maps import fuse_levels, spread_over_windows, stretch
from segmenter.modes.passes import Passes, size_yx
from segmenter.text.prompts import Prompt, embed_prompts, encode_prompts


def paper_maps(
    passes: Passes, image: NDArray[np.uint8], prompts: Sequence[Prompt]
) -> NDArray[np.float16]:
    """Score maps of one image: float16 (L, Y, X), each stretched to [0, 1].

    Args:
        passes: of the model, under paper mode's options.
        image: uint8 (rows, columns, 3).
        prompts: one per label.
    """
    options, parts = passes.options, passes.parts
    cells = passes.lay_out(size_yx(image))
    layout = passes.map_layout(cells)
    results = [np.zeros((0, *layout.canvas_yx), np.float16)]
    if not prompts:
        return results[0]
    latents = passes.latents(passes.cut(image, cells), passes.noise(cells))
    for start in range(0, len(prompts), options.labels_per_pass):
        encoded = encode_prompts(
            parts.text.tokenizer, prompts[start : start + options.labels_per_pass]
        )
        text = embed_prompts(parts.text, encoded, emphasis=options.emphasis)
        of_label: dict[int, list[SampleReading]] = defaultdict(list)
        for latent in latents:
            samples = [
                Sample(
                    latent=latent,
                    text=text.sample(place),
                    rows=OwnRows(encoded.read[place : place + 1]),
                )
                for place in range(len(encoded.read))
            ]
            for place, reading in enumerate(passes.read(samples)):
                of_label[place].append(reading)
        for readings in of_label.values():
            maps = fuse_levels(
                readings, layout, weights=passes.plan.weights, stretches=True
            )
            for _ in range(options.self_attention_products):
                maps = spread_over_windows(maps, readings, layout)
            results.append(stretch(maps).to("cpu", torch.float16).numpy())
    return np.concatenate(results)
