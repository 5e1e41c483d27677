from pathlib import Path

import torch

from segmenter.backbones.unet import UNetBackbone, load_unet
from segmenter.source import ModelSource

CPU = torch.device("cpu")


def test_load_unet_gives_back_what_was_saved(
    model_dir: Path, parts: UNetBackbone
) -> None:
    found = load_unet(
        ModelSource.parse(str(model_dir)), device=CPU, dtype=torch.float32
    )

    for saved, loaded in (
        (parts.vae, found.vae),
        (parts.unet, found.unet),
        (parts.text.encoder, found.text.encoder),
    ):
        assert type(loaded) is type(saved)
        assert not loaded.training
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, saved.state_dict()[key]), key
        assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert found.text.tokenizer("cat 猫") == parts.text.tokenizer("cat 猫")
    torch.testing.assert_close(
        found.scheduler.alphas_cumprod, parts.scheduler.alphas_cumprod
    )


def test_load_unet_takes_the_dtype_asked_for(model_dir: Path) -> None:
    found = load_unet(
        ModelSource.parse(str(model_dir)), device=CPU, dtype=torch.float16
    )

    assert found.vae.dtype == found.unet.dtype == torch.float16
    assert found.text.encoder.dtype == torch.float16
