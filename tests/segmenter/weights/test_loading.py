import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from segmenter import SegmenterOptions, WeightsNotFound, load_segmenter
from segmenter.backbones.unet import UNetBackbone

CPU = torch.device("cpu")
BARE = SegmenterOptions(presence="off")

WEIGHT_FILES = [
    "vae/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "captioner/model.safetensors",
    "image_text/model.safetensors",
]
CONFIG_FILES = [
    "vae/config.json",
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer.json",
    "scheduler/scheduler_config.json",
    "captioner/config.json",
    "captioner/tokenizer.json",
    "captioner/preprocessor_config.json",
    "image_text/config.json",
    "image_text/tokenizer.json",
    "image_text/preprocessor_config.json",
]


@pytest.fixture
def copied_dir(model_dir: Path, tmp_path: Path) -> Path:
    """A model directory that the test may damage."""
    return shutil.copytree(model_dir, tmp_path / "damaged")


def load_all(folder: Path) -> None:
    """Load every part, the auxiliary models too."""
    load_segmenter(
        str(folder), SegmenterOptions(caption=True, presence="paper"), device="cpu"
    )


def test_a_model_without_auxiliary_models_loads_where_no_option_needs_them(
    copied_dir: Path, picture: NDArray[np.uint8]
) -> None:
    shutil.rmtree(copied_dir / "captioner")
    shutil.rmtree(copied_dir / "image_text")

    (found,) = load_segmenter(str(copied_dir), BARE, device="cpu").segment(
        [picture], [["cat"]]
    )

    assert found.label_map.shape == picture.shape[:2]


def test_models_that_are_loaded_at_the_same_time_are_all_whole() -> None:
    with ThreadPoolExecutor() as pool:
        segmenters = list(pool.map(load_segmenter, ["pocket"] * 3))

    image = np.zeros((32, 48, 3), np.uint8)
    maps = [segmenter.score([image], [["cat"]])[0].maps for segmenter in segmenters]
    np.testing.assert_array_equal(maps[1], maps[0])
    np.testing.assert_array_equal(maps[2], maps[0])


@pytest.mark.parametrize(
    "folder", ["vae", "unet", "text_encoder", "tokenizer", "scheduler"]
)
def test_a_missing_part_is_named(copied_dir: Path, folder: str) -> None:
    shutil.rmtree(copied_dir / folder)

    with pytest.raises(WeightsNotFound, match=f"{copied_dir}/{folder}"):
        load_segmenter(str(copied_dir), BARE, device="cpu")


@pytest.mark.parametrize(
    "file", ["tokenizer/tokenizer.json", "captioner/tokenizer.json", *WEIGHT_FILES]
)
def test_a_missing_file_is_refused_with_its_folder(copied_dir: Path, file: str) -> None:
    (copied_dir / file).unlink()

    with pytest.raises(WeightsNotFound, match=str((copied_dir / file).parent)):
        load_all(copied_dir)


@pytest.mark.parametrize("file", WEIGHT_FILES)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-100], id="cut-short"),
        pytest.param(lambda data: bytes(1000), id="zeros"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"version https://git-lfs", id="git-lfs-pointer"),
    ],
)
def test_damaged_weights_are_refused_with_their_folder(
    copied_dir: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    path = copied_dir / file
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(WeightsNotFound, match=str(path.parent)):
        load_all(copied_dir)


@pytest.mark.parametrize("file", CONFIG_FILES)
@pytest.mark.parametrize(
    "text", [pytest.param("{not json", id="not-json"), pytest.param("[]", id="a-list")]
)
# diffusers takes a list for its deprecated first argument before it fails on it.
@pytest.mark.filterwarnings("ignore:It is deprecated to pass:FutureWarning")
def test_a_wrong_config_is_refused_with_its_folder(
    copied_dir: Path, file: str, text: str
) -> None:
    path = copied_dir / file
    path.write_text(text)

    with pytest.raises(WeightsNotFound, match=str(path.parent)):
        load_all(copied_dir)


def test_weights_of_another_shape_than_the_config_says_are_refused(
    copied_dir: Path,
) -> None:
    path = copied_dir / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "block_out_channels": [8, 16, 16, 16]}))

    with pytest.raises(WeightsNotFound, match="unet"):
        load_segmenter(str(copied_dir), BARE, device="cpu")


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_a_missing_tensor_is_refused_by_its_name(copied_dir: Path, file: str) -> None:
    path = copied_dir / file
    name = min(key for key in load_file(path) if key.endswith("weight"))

    rewrite(path, lambda tensors: tensors.pop(name))

    with pytest.raises(WeightsNotFound, match=name) as caught:
        load_all(copied_dir)
    assert f"the weights in {path.parent} lack {name}" in str(caught.value)
    assert "device" not in str(caught.value).lower()


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_a_tensor_of_another_shape_is_refused_by_its_name(
    copied_dir: Path, file: str
) -> None:
    path = copied_dir / file
    name = min(key for key in load_file(path) if key.endswith("weight"))

    rewrite(path, lambda tensors: tensors.update({name: torch.zeros(3, 2)}))

    with pytest.raises(WeightsNotFound, match=name) as caught:
        load_all(copied_dir)
    assert str(path.parent) in str(caught.value)
    assert "3, 2" in str(caught.value)
    assert "overwrite randomly" not in str(caught.value)


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_tensors_that_no_model_of_the_kind_reads_change_nothing(
    copied_dir: Path, file: str
) -> None:
    # Older checkpoints bear the first; others are for another use of the same model.
    extra = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    rewrite(copied_dir / file, lambda tensors: tensors.update(extra))

    load_all(copied_dir)


def test_tied_weights_need_not_be_in_the_file_twice(copied_dir: Path) -> None:
    path = copied_dir / "captioner" / "model.safetensors"
    assert "text_decoder.cls.predictions.decoder.weight" not in load_file(path)

    load_all(copied_dir)


def test_weights_in_pickles_are_not_read(copied_dir: Path, parts: UNetBackbone) -> None:
    (copied_dir / "unet/diffusion_pytorch_model.safetensors").unlink()
    torch.save(parts.unet.state_dict(), copied_dir / "unet/diffusion_pytorch_model.bin")

    with pytest.raises(WeightsNotFound, match="unet"):
        load_segmenter(str(copied_dir), BARE, device="cpu")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("model", ["nobody/not-cached", "nobody/not-cached@0123abc"])
# diffusers 0.42 passes huggingface_hub 2 an argument that it no longer takes.
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_a_hub_id_that_is_not_cached_is_refused_quickly_offline(model: str) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsNotFound) as caught:
        load_segmenter(model, BARE, device="cpu")

    assert time.monotonic() - started < 10
    assert "nobody/not-cached" in str(caught.value)
    assert "on a machine that reaches the hub" in str(caught.value)
