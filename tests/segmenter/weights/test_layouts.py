"""Models as people have them on disk: what loads, and what refusals say to do."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from segmenter import (
    ModelSource,
    SegmenterOptions,
    UnsupportedModel,
    WeightsNotFound,
    load_segmenter,
)
from segmenter.weights.files import find_variant
from tests.segmenter.tiny_models import make_sdxl_parts, save_parts

BARE = SegmenterOptions(presence="off")
PAPER = SegmenterOptions(mode="paper", presence="paper")
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    """A model that the test may rearrange."""
    return shutil.copytree(model_dir, tmp_path / "model")


def score(model: str | Path, picture: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Maps by everything that a model brings."""
    segmenter = load_segmenter(str(model), PAPER, device="cpu")
    (maps,) = segmenter.score([picture], [["cat", "traffic light"]])
    return maps.maps


def refusal(model: Path, kind: type[Exception] = WeightsNotFound) -> str:
    with pytest.raises(kind) as caught:
        load_segmenter(str(model), BARE, device="cpu")
    return str(caught.value)


def call_fp16(folder: Path) -> None:
    """Name all weights as `save_pretrained(variant="fp16")` does."""
    for path in folder.glob("*/*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))


def test_weights_that_are_there_in_half_precision_alone_are_loaded(
    folder: Path, picture: NDArray[np.uint8]
) -> None:
    expected = score(folder, picture)
    call_fp16(folder)

    np.testing.assert_array_equal(score(folder, picture), expected)


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_they_are_in_the_hub_s_cache_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    call_fp16(folder)
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / COMMIT)

    segmenter = load_segmenter("some/model", BARE, device="cpu")

    (found,) = segmenter.segment([np.zeros((8, 8, 3), np.uint8)], [["cat"]])
    assert found.labels == ("cat",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "model.fp16.safetensors"], None),
        (["model.fp16.safetensors", "model.bin"], "fp16"),
        (["diffusion_pytorch_model.bf16.safetensors"], "bf16"),
        (["model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["model-00001-of-00002.fp16.safetensors"], "fp16"),
        (["model-00001-of-00002.safetensors"], None),
        (["diffusion_pytorch_model.non_ema.safetensors"], None),
        ([], None),
    ],
)
def test_find_variant_takes_another_precision_only_where_it_must(
    tmp_path: Path, names: Sequence[str], expected: str | None
) -> None:
    (tmp_path / "unet").mkdir()
    for name in names:
        (tmp_path / "unet" / name).touch()

    assert find_variant(ModelSource.parse(str(tmp_path)), "unet") == expected


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickles_are_refused_as_such_with_how_to_convert_them(
    folder: Path, part: str
) -> None:
    (weights,) = (folder / part).glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))

    message = refusal(folder)

    assert f"{folder}/{part} holds {weights.stem}.bin and no safetensors" in message
    assert "may run code" in message
    assert f"P.from_pretrained('{folder}').save_pretrained('NEW_FOLDER')" in message


def test_one_file_in_the_original_layout_is_named_with_its_remedy(
    tmp_path: Path,
) -> None:
    file = tmp_path / "v1-5-pruned-emaonly.safetensors"
    save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, file)

    for model in (file, tmp_path):
        message = refusal(model)
        assert f"{file} is one file" in message
        assert "on a machine that reaches the hub" in message
        assert f"from_single_file('{file}').save_pretrained('NEW_FOLDER')" in message


def test_one_file_that_is_a_pickle_is_called_one(tmp_path: Path) -> None:
    file = tmp_path / "v1-5-pruned-emaonly.ckpt"
    file.touch()

    assert f"{file} is a pickle" in refusal(file)


def test_a_file_that_is_no_model_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    assert "it is a file, and no model" in refusal(tmp_path / "notes.txt")


def test_tokenizers_without_their_config_take_the_length_from_the_model(
    folder: Path, picture: NDArray[np.uint8]
) -> None:
    expected = score(folder, picture)
    for config in folder.glob("*/tokenizer_config.json"):
        config.unlink()

    np.testing.assert_array_equal(score(folder, picture), expected)
    segmenter = load_segmenter(str(folder), BARE, device="cpu")
    many = tuple(f"traffic light number {number}" for number in range(40))
    (found,) = segmenter.score([picture], [many])
    assert len(found.maps) == 40


def test_the_second_tokenizer_is_checked_and_fills_as_sdxl_does(
    tmp_path: Path, picture: NDArray[np.uint8]
) -> None:
    save_parts(tmp_path, make_sdxl_parts())
    whole = load_segmenter(str(tmp_path), BARE, device="cpu")
    (expected,) = whole.score([picture], [["cat", "dog"]])
    (tmp_path / "tokenizer_2" / "tokenizer_config.json").unlink()

    bare = load_segmenter(str(tmp_path), BARE, device="cpu")

    (found,) = bare.score([picture], [["cat", "dog"]])
    np.testing.assert_array_equal(found.maps, expected.maps)
    for path in (tmp_path / "tokenizer_2").iterdir():
        path.unlink()
    assert "tokenizer_2" in refusal(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    config = folder / "text_encoder" / "config.json"
    small = json.loads(config.read_text()) | {"vocab_size": 100}
    shutil.rmtree(folder / "text_encoder")
    CLIPTextModel(CLIPTextConfig(**small)).save_pretrained(folder / "text_encoder")

    assert "for a model that reads 100; it is another model's" in refusal(folder)


def write_index(folder: Path, index: dict[str, Any]) -> None:
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("pipeline", "denoiser"),
    [
        ("SanaPipeline", "SanaTransformer2DModel"),
        ("FluxPipeline", "FluxTransformer2DModel"),
    ],
)
@pytest.mark.parametrize("has_config", [True, False])
def test_transformers_are_named_with_what_is_supported(
    tmp_path: Path, pipeline: str, denoiser: str, has_config: bool
) -> None:
    write_index(
        tmp_path,
        {"_class_name": pipeline, "transformer": ["diffusers", denoiser]},
    )
    (tmp_path / "transformer").mkdir()
    if has_config:
        config = json.dumps({"_class_name": denoiser})
        (tmp_path / "transformer" / "config.json").write_text(config)

    message = refusal(tmp_path, UnsupportedModel)

    assert f"{tmp_path} is a {pipeline} with a {denoiser}" in message
    assert "Stable Diffusion 1.x, 2.x, XL (base), 3 or 3.5 (medium), PixArt" in message


def test_a_refiner_is_told_from_the_base_model(tmp_path: Path) -> None:
    save_parts(tmp_path, make_sdxl_parts())
    shutil.rmtree(tmp_path / "text_encoder")
    index = {
        "_class_name": "StableDiffusionXLImg2ImgPipeline",
        "text_encoder": [None, None],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    }
    write_index(tmp_path, index)

    message = refusal(tmp_path, UnsupportedModel)

    assert "StableDiffusionXLImg2ImgPipeline made to refine" in message
    assert "XL (base)" in message


def test_an_inpainting_model_is_refused_before_its_weights_are_read(
    folder: Path,
) -> None:
    write_index(folder, {"_class_name": "StableDiffusionInpaintPipeline"})
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()

    message = refusal(folder, UnsupportedModel)

    assert "StableDiffusionInpaintPipeline with a U-Net of 9 input channels" in message


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
@pytest.mark.parametrize(
    ("part", "options", "switches"),
    [
        ("image_text", SegmenterOptions(), ("PRESENCE=off", "--presence off")),
        ("captioner", PAPER, ("CAPTION=off", "--no-caption")),
    ],
)
def test_a_model_without_its_companion_says_how_to_do_without(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    options: SegmenterOptions,
    switches: Sequence[str],
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    shutil.rmtree(folder / part)

    with pytest.raises(WeightsNotFound, match=f"no folder {part}") as caught:
        load_segmenter(str(folder), options, device="cpu")
    assert all(switch in str(caught.value) for switch in switches)
