"""Conditioning against what diffusers' own pipelines give the U-Net."""

from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from segmenter.backbones.unet.inputs import added_conditions
from segmenter.pocket.train.text import build_tokenizer
from tests.segmenter.tiny_models import (
    make_sd21_parts,
    make_sdxl_parts,
)

TEXTS = ["cat, traffic light, dog", "", "a photograph of a 猫"]


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
