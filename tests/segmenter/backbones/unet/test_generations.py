"""Every generation of the U-Net family: loaded, in half precision, refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray

from segmenter import SegmenterOptions, UnsupportedModel, load_segmenter
from segmenter.backbones.unet import UNetBackbone, load_unet
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.predictor import Segmenter
from segmenter.presence import Captioner, ImageText
from segmenter.source import ModelSource
from tests.segmenter.tiny_models import (
    LATENT_SIDE,
    TEXT_WIDTH,
    make_parts,
    make_sd21_parts,
    make_sdxl_parts,
    save_model,
)

BARE = SegmenterOptions(presence="off", aspect="squash")
PAPER = SegmenterOptions(mode="paper")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("make", "side"),
    [
        pytest.param(make_parts, LATENT_SIDE, id="1.5"),
        pytest.param(make_sd21_parts, LATENT_SIDE, id="2.1"),
        pytest.param(make_sdxl_parts, LATENT_SIDE // 2, id="xl"),
    ],
)
@pytest.mark.parametrize("options", [BARE, PAPER], ids=["fast", "paper"])
def test_every_generation_segments_from_its_saved_files(
    tmp_path: Path,
    captioner: Captioner,
    image_text: ImageText,
    picture: NDArray[np.uint8],
    make: Any,
    side: int,
    options: SegmenterOptions,
) -> None:
    parts = make()
    save_model(tmp_path / "model", parts, captioner, image_text)
    loaded = load_segmenter(str(tmp_path / "model"), BARE, device="cpu")

    (found,) = loaded.score([picture], [["cat", "traffic light"]], options=options)

    assert found.maps.shape == (2, side, side)
    in_memory = Segmenter(parts, BARE, captioner=lambda: captioner)
    (expected,) = in_memory.score(
        [picture], [["cat", "traffic light"]], options=options
    )
    # Weights out of a file lie elsewhere in memory, for which some processors add in
    # another order; `stretch` enlarges that. Other weights give maps that are far off.
    np.testing.assert_allclose(found.maps, expected.maps, atol=0.02)
    assert np.abs(found.maps[0] - found.maps[1]).max() > 0.1


def test_sdxl_s_vae_alone_stays_in_float32_where_the_rest_is_half(
    tmp_path: Path, captioner: Captioner, image_text: ImageText
) -> None:
    def precisions(parts: UNetBackbone) -> tuple[torch.dtype, ...]:
        folder = tmp_path / str(id(parts))
        save_model(folder, parts, captioner, image_text)
        loaded = load_unet(
            ModelSource.parse(str(folder)), device=CPU, dtype=torch.float16
        )
        return (loaded.vae.dtype, loaded.unet.dtype, loaded.text.encoder.dtype)

    half, full = torch.float16, torch.float32
    assert precisions(make_sdxl_parts()) == (full, half, half)
    assert precisions(make_sd21_parts()) == (half, half, half)


@pytest.mark.parametrize("make", [make_parts, make_sd21_parts, make_sdxl_parts])
@pytest.mark.parametrize("options", [BARE, PAPER], ids=["fast", "paper"])
def test_every_generation_segments_in_bfloat16(
    tmp_path: Path,
    captioner: Captioner,
    image_text: ImageText,
    picture: NDArray[np.uint8],
    make: Any,
    options: SegmenterOptions,
) -> None:
    save_model(tmp_path, make(), captioner, image_text)
    segmenter = load_segmenter(str(tmp_path), BARE, device="cpu", dtype="bfloat16")

    (found,) = segmenter.score([picture], [["cat", "dog"]], options=options)

    assert (found.maps.max(axis=(1, 2)) == 1).all()
    assert not np.array_equal(found.maps[0], found.maps[1])


@pytest.mark.parametrize("options", [BARE, PAPER], ids=["fast", "paper"])
def test_bfloat16_differs_from_float32_by_its_rounding_alone(
    options: SegmenterOptions,
) -> None:
    # A trained model: fresh ones turn rounding into other maps altogether.
    scene = render_scene(TEST_SEED_START, n_objects=2)
    found = []
    for dtype in ("float32", "bfloat16"):
        segmenter = load_segmenter("pocket", BARE, device="cpu", dtype=dtype)
        found += segmenter.score([scene.image], [scene.words], options=options)

    full, half = (one.maps.astype(np.float32) for one in found)
    assert np.abs(full - half).mean() < 0.01
    assert not np.array_equal(full, half)


def test_an_inpainting_unet_is_refused_by_what_it_is(
    tmp_path: Path, captioner: Captioner, image_text: ImageText
) -> None:
    parts = make_parts()
    config = dict(parts.unet.config) | {"in_channels": 9}
    # What it lists would be reset to the default, in_channels among them.
    del config["_use_default_values"]
    unet = type(parts.unet).from_config(config)
    save_model(tmp_path, parts, captioner, image_text)
    unet.save_pretrained(tmp_path / "unet")

    with pytest.raises(UnsupportedModel, match=r"9 input channels.*inpainting"):
        load_segmenter(str(tmp_path), BARE, device="cpu")


def test_a_unet_of_other_attention_is_refused_without_blaming_the_device(
    tmp_path: Path, captioner: Captioner, image_text: ImageText
) -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    save_model(tmp_path, make_parts(), captioner, image_text)
    unet.save_pretrained(tmp_path / "unet")

    with pytest.raises(UnsupportedModel, match="AttnAddedKV") as caught:
        load_segmenter(str(tmp_path), BARE, device="cpu")
    assert "device" not in str(caught.value).lower()


def test_a_text_encoder_of_another_model_is_refused_with_both_widths(
    tmp_path: Path, captioner: Captioner, image_text: ImageText
) -> None:
    save_model(tmp_path, make_parts(), captioner, image_text)
    shutil.rmtree(tmp_path / "text_encoder")
    wider = make_sdxl_parts().text.second_encoder
    wider.save_pretrained(tmp_path / "text_encoder")

    with pytest.raises(UnsupportedModel, match=r"a text of 24 numbers.*16"):
        load_segmenter(str(tmp_path), BARE, device="cpu")
