from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmenter import SegmenterOptions, load_segmenter
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from segmenter.presence import ImageText


def test_load_segmenter_gives_what_the_parts_in_memory_give(
    model_dir: Path,
    parts: UNetBackbone,
    image_text: ImageText,
    picture: NDArray[np.uint8],
) -> None:
    in_memory = Segmenter(parts, SegmenterOptions(), image_text=lambda: image_text)

    loaded = load_segmenter(str(model_dir), device="cpu")

    (found,) = loaded.score([picture], [["cat", "traffic light"]])
    (expected,) = in_memory.score([picture], [["cat", "traffic light"]])
    np.testing.assert_array_equal(found.maps, expected.maps)
    np.testing.assert_allclose(found.presence, expected.presence, rtol=1e-5)


def test_auto_takes_the_cpu_where_there_is_no_other(model_dir: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")

    segmenter = load_segmenter(str(model_dir), SegmenterOptions(presence="off"))

    found = segmenter.segment([np.zeros((8, 8, 3), np.uint8)], [["cat"]])
    assert found[0].label_map.shape == (8, 8)
