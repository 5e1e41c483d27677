"""Conditioning against what diffusers' own pipelines give the U-Net."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from numpy.typing import NDArray

from segmenter import SegmenterOptions, UnsupportedModel, load_segmenter
from segmenter.backbones.unet import UNetBackbone, load_unet
from segmenter.backbones.unet.inputs import added_conditions
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.train.text import build_tokenizer
from segmenter.predictor import Segmenter
from segmenter.presence import Captioner, ImageText
from segmenter.source import ModelSource
from segmenter.weights import pick_dtype
from tests.segmenter.tiny_models import (
    LATENT_SIDE,
    make_parts,
    make_sd21_parts,
    make_sdxl_parts,
    save_model,
)

TEXTS = ["cat, traffic light, dog", "", "a photograph of a 猫"]
BARE = SegmenterOptions(presence="off", aspect="squash")
PAPER = SegmenterOptions(mode="paper")
CPU = torch.device("cpu")


def padded_with_nought() -> Any:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def test_one_encoder_gives_what_stable_diffusion_s_pipeline_gives() -> None:
    parts = make_sd21_parts()
    pipeline = StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text.encoder,
        tokenizer=parts.text.tokenizer,
        unet=parts.unet,
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )

    found = parts.text.encode_texts(TEXTS)

    expected, _ = pipeline.encode_prompt(TEXTS, "cpu", 1, False)
    torch.testing.assert_close(found.context, expected)
    assert found.pooled is None
    assert added_conditions(parts.unet, None, (64, 64)) is None


def test_two_encoders_give_what_sdxl_s_pipeline_gives() -> None:
    parts = make_sdxl_parts()
    pipeline = StableDiffusionXLPipeline(
        vae=parts.vae,
        text_encoder=parts.text.encoder,
        text_encoder_2=parts.text.second_encoder,
        tokenizer=parts.text.tokenizer,
        tokenizer_2=padded_with_nought(),
        unet=parts.unet,
        scheduler=parts.scheduler,
        add_watermarker=False,
    )

    found = parts.text.encode_texts(TEXTS)

    context, _, pooled, _ = pipeline.encode_prompt(
        TEXTS, device="cpu", do_classifier_free_guidance=False
    )
    torch.testing.assert_close(found.context, context)
    torch.testing.assert_close(found.pooled, pooled)
    added = added_conditions(parts.unet, found.pooled, (48, 64))
    assert added is not None
    times = pipeline._get_add_time_ids((48, 64), (0, 0), (48, 64), torch.float32, 20)
    torch.testing.assert_close(added["time_ids"], times.expand(3, -1))
    torch.testing.assert_close(added["text_embeds"], pooled)


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
    np.testing.assert_array_equal(found.maps, expected.maps)
    assert not np.array_equal(found.maps[0], found.maps[1])


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


def test_pick_dtype_is_half_on_a_gpu_and_whole_on_a_cpu() -> None:
    assert pick_dtype(torch.device("cuda"), "auto") == torch.float16
    assert pick_dtype(CPU, "auto") == torch.float32
    assert pick_dtype(CPU, "bfloat16") == torch.bfloat16
    with pytest.raises(ValueError, match=r"float16.*use float32"):
        pick_dtype(CPU, "float16")
    with pytest.raises(ValueError, match=r"int8.*auto, float32"):
        pick_dtype(CPU, "int8")
