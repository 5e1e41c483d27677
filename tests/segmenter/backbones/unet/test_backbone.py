import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmenter import SegmenterOptions
from segmenter.backbones import Geometry
from segmenter.backbones.unet import UNetBackbone, load_unet
from segmenter.predictor import Segmenter
from segmenter.source import ModelSource
from tests.segmenter.asking import calls_of
from tests.segmenter.tiny_models import (
    LATENT_SIDE,
    NO_LATENT_LEVEL,
    make_parts,
    make_sdxl_parts,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("make", "block_cells", "map_cell"),
    [
        pytest.param(make_parts, 8, 1, id="1.5"),
        # Three levels, and no attention on the finest.
        pytest.param(make_sdxl_parts, 4, 2, id="xl"),
    ],
)
def test_sizes_are_read_from_the_parts(
    make: Any, block_cells: int, map_cell: int
) -> None:
    backbone = make()

    assert backbone.geometry == Geometry(
        cell_px=4,
        block_cells=block_cells,
        side_cells=LATENT_SIDE,
        latent_channels=4,
    )
    assert backbone.device == CPU
    assert backbone.reader(SegmenterOptions()).map_cell == map_cell


def test_the_layers_are_looked_for_once(parts: UNetBackbone) -> None:
    fresh = UNetBackbone(
        vae=parts.vae, unet=parts.unet, text=parts.text, scheduler=parts.scheduler
    )

    with calls_of(parts.unet) as passes:
        for mode in ("fast", "paper"):
            fresh.reader(SegmenterOptions(mode=mode))  # type: ignore[arg-type]

    assert passes == [1]


def test_latents_are_noised_as_far_as_the_options_say(parts: UNetBackbone) -> None:
    pixels, noise = torch.zeros(1, 3, 16, 24), torch.randn(1, 4, 4, 6)
    kept = parts.scheduler.alphas_cumprod

    def latents(timestep: int) -> torch.Tensor:
        reader = parts.reader(SegmenterOptions(timestep=timestep))
        return reader.add_noise(reader.encode(pixels, jitter=None), noise)

    found, other = latents(100), latents(600)

    clean = (found - (1 - kept[100]).sqrt() * noise) / kept[100].sqrt()
    expected = kept[600].sqrt() * clean + (1 - kept[600]).sqrt() * noise
    torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-4)


# torch's compiler uses parts of torch that it warns of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_is_compiled_where_that_is_asked_for(model_dir: Path) -> None:
    source = ModelSource.parse(str(model_dir))

    def is_compiled(**how: bool) -> bool:
        found = load_unet(source, device=CPU, dtype=torch.float32, **how)
        return found.vae.encoder._compiled_call_impl is not None

    assert is_compiled(compiles=True)
    assert not is_compiled()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles with g++")
def test_a_compiled_model_gives_the_maps_of_one_that_is_not(
    picture: NDArray[np.uint8],
) -> None:
    def maps_of(parts: UNetBackbone) -> NDArray[np.float16]:
        segmenter = Segmenter(parts, SegmenterOptions(presence="off"))
        (found,) = segmenter.score([picture], [["cat", "dog"]])
        return found.maps

    compiled = make_parts(NO_LATENT_LEVEL)
    compiled.compile()

    assert compiled.vae.encoder._compiled_call_impl is not None
    np.testing.assert_allclose(
        maps_of(compiled), maps_of(make_parts(NO_LATENT_LEVEL)), atol=2e-3
    )
