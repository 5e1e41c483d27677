"""Another family of models is one class and one line of the registry.

The toy below is what a U-Net is not: one grid and no depths, no up and down blocks,
text keys that the image changes, no keys that could be projected beforehand.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter import SegmenterOptions
from segmenter.backbones import (
    FAMILIES,
    AttentionReader,
    Backbone,
    Family,
    Geometry,
    Level,
    Sample,
    SampleReading,
    VocabularyTokens,
    load_backbone,
)
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from segmenter.source import ModelSource
from segmenter.text import TextEncoder, TextEncoders
from tests.segmenter.asking import LABELS, score_one
from tests.segmenter.tiny_models import TEXT_WIDTH

CPU = torch.device("cpu")
FAST = SegmenterOptions(presence="off", self_attention_products=2)


class ToyBackbone:
    """Ten lines that attend."""

    device = CPU
    geometry = Geometry(
        cell_px=8, block_cells=2, side_cells=8, latent_channels=TEXT_WIDTH
    )
    map_cell = 1

    def __init__(self, text: TextEncoder) -> None:
        self.text = text

    def reader(self, options: SegmenterOptions) -> AttentionReader:
        return self

    def encode(self, pixels: Tensor, *, jitter: Tensor | None) -> Tensor:
        return F.avg_pool2d(pixels, 8).repeat(1, 6, 1, 1)[:, :TEXT_WIDTH]

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        return latents + 0.1 * noise

    def read(self, samples: Any) -> list[SampleReading]:
        return [self._read_one(sample) for sample in samples]

    def _read_one(self, sample: Sample) -> SampleReading:
        assert isinstance(sample.tokens, VocabularyTokens)
        cells = sample.latent.flatten(1)  # (C, Q)
        tokens = sample.tokens.texts.context[sample.tokens.kept]  # (T, C)
        keys = tokens + tokens @ cells @ cells.softmax(dim=1).T  # the image has its say
        rows = sample.tokens.weights @ (keys @ cells / TEXT_WIDTH).softmax(dim=0)
        maps = rows.view(-1, *sample.latent.shape[1:])
        own = (cells.T @ cells).softmax(dim=1)
        return SampleReading(
            levels=(Level(maps=maps, weight=1.0),),
            refine=lambda maps: (maps.flatten(1) @ own.T).view_as(maps),
        )


@pytest.fixture
def toy(parts: UNetBackbone) -> Backbone:
    return ToyBackbone(parts.text)


def test_fast_mode_makes_maps_of_a_model_that_is_no_unet(
    toy: Backbone, picture: NDArray[np.uint8]
) -> None:
    maps = score_one(Segmenter(toy, FAST), picture)

    # 48 by 72 pixels keep their shape on about as many cells as 8 by 8.
    assert maps.shape == (len(LABELS), 6, 10)
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), np.ones(len(LABELS)))
    assert len({one.tobytes() for one in maps}) == len(LABELS)
    upside_down = score_one(Segmenter(toy, FAST), picture[::-1].copy())
    assert not np.array_equal(maps, upside_down)


def test_labels_beyond_the_window_reach_a_family_as_further_texts(
    toy: Backbone, picture: NDArray[np.uint8]
) -> None:
    many = tuple(f"traffic light number {number}" for number in range(40))

    maps = score_one(Segmenter(toy, FAST), picture, many)

    assert maps.shape == (40, 6, 10)
    assert len({one.tobytes() for one in maps}) == 40


def test_windows_and_batches_are_none_of_a_family_s_business(toy: Backbone) -> None:
    large = np.random.default_rng(0).integers(0, 255, (100, 160, 3), dtype=np.uint8)
    options = SegmenterOptions(presence="off", max_windows=6, images_per_pass=2)

    maps = score_one(Segmenter(toy, options), large)

    assert maps.shape[1] > 8
    assert maps.shape[2] > maps.shape[1]


def test_one_line_of_the_registry_loads_a_new_family(
    tmp_path: Path, parts: UNetBackbone
) -> None:
    (tmp_path / "transformer").mkdir()
    config = {"_class_name": "ToyTransformer2DModel"}
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(config))
    asked: list[tuple[Any, ...]] = []

    def load_toy(
        source: ModelSource, *, device: torch.device, dtype: torch.dtype, compiles: bool
    ) -> Backbone:
        asked.append((source.location, device, dtype, compiles))
        return ToyBackbone(parts.text)

    toy = Family(class_names=frozenset({"ToyTransformer2DModel"}), load=load_toy)

    loaded = load_backbone(
        ModelSource.parse(str(tmp_path)),
        device=CPU,
        dtype=torch.bfloat16,
        compiles=True,
        families=(*FAMILIES, toy),
    )

    assert isinstance(loaded, ToyBackbone)
    assert asked == [(str(tmp_path), CPU, torch.bfloat16, True)]


def test_a_unet_stays_a_unet_beside_other_families(model_dir: Path) -> None:
    def refuse(*_: Any, **__: Any) -> Backbone:
        raise AssertionError

    other = Family(class_names=frozenset({"ToyTransformer2DModel"}), load=refuse)

    loaded = load_backbone(
        ModelSource.parse(str(model_dir)),
        device=CPU,
        dtype=torch.float32,
        families=(other, *FAMILIES),
    )

    assert isinstance(loaded, UNetBackbone)
    assert isinstance(loaded.text, TextEncoders)
