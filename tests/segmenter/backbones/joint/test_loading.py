"""Stable Diffusion 3's folders, scaled down, through the real loader."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from segmenter import (
    ModelSource,
    SegmenterOptions,
    UnsupportedModel,
    WeightsNotFound,
    load_segmenter,
    recipe_options,
)
from segmenter.backbones import load_backbone
from segmenter.backbones.joint import JointBackbone
from segmenter.backbones.joint.blocks import find_block
from segmenter.predictor import Segmenter
from segmenter.presence import ImageText
from tests.segmenter.asking import LABELS, score_one
from tests.segmenter.tiny_models import save_auxiliary
from tests.segmenter.tiny_transformers import (
    IMAGE_SIDE_PX,
    JOINT_WIDTH,
    LATENT_CHANNELS,
    SD35,
    make_joint_backbone,
    padded_with_nought,
    save_joint,
)

CPU = torch.device("cpu")
BARE = SegmenterOptions(presence="off")
TEXTS = ["cat, traffic light, dog", "", "a photograph of a 猫"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that nobody changes; its `reading.json` names block 1."""
    folder = tmp_path_factory.mktemp("models") / "sd3"
    save_joint(folder, make_joint_backbone())
    (folder / "reading.json").write_text('{"block": 1}')
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "sd3")


def load(folder: Path, **how: Any) -> JointBackbone:
    found = load_backbone(
        ModelSource.parse(str(folder)), device=CPU, dtype=torch.float32, **how
    )
    assert isinstance(found, JointBackbone)
    return found


def change_config(folder: Path, part: str, **changes: Any) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_loaded_makes_the_maps_of_the_parts_in_memory(
    saved: Path, picture: NDArray[np.uint8]
) -> None:
    in_memory = Segmenter(make_joint_backbone(), BARE)

    loaded = load_segmenter(str(saved), BARE, device="cpu")

    found = score_one(loaded, picture)
    assert found.shape[0] == len(LABELS)
    assert len({one.tobytes() for one in found}) == len(LABELS)
    np.testing.assert_array_equal(found, score_one(in_memory, picture))


def test_blocks_behind_the_one_that_is_read_are_not_loaded(saved: Path) -> None:
    found = load(saved)

    whole = make_joint_backbone().transformer
    assert found.block == 1
    assert len(found.transformer.transformer_blocks) == 2
    expected = {
        name: tensor
        for name, tensor in whole.state_dict().items()
        if not name.startswith(("transformer_blocks.2", "transformer_blocks.3"))
    }
    kept = found.transformer.state_dict()
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_block_that_is_kept_must_be_whole(folder: Path) -> None:
    weights = next((folder / "transformer").glob("*.safetensors"))
    tensors = load_file(weights)
    del tensors["transformer_blocks.1.attn.add_k_proj.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})

    with pytest.raises(WeightsNotFound, match="add_k_proj"):
        load(folder)


def test_stable_diffusion_3_medium_is_read_at_block_9(tmp_path: Path) -> None:
    save_joint(tmp_path, make_joint_backbone(num_layers=24))

    found = load(tmp_path)

    assert found.block == 9
    assert len(found.transformer.transformer_blocks) == 10


@pytest.mark.parametrize("config", [{}, SD35], ids=["sd3", "sd3.5"])
def test_of_an_unknown_model_the_block_is_read_where_text_says_most(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    parts = make_joint_backbone(**config)
    with torch.no_grad():
        loud = parts.transformer.transformer_blocks[2].attn.add_v_proj
        loud.weight.mul_(10)
        loud.bias.mul_(10)
    save_joint(tmp_path, parts)

    found = load(tmp_path)

    assert find_block(parts.transformer, parts.text) == found.block == 2
    assert len(found.transformer.transformer_blocks) == 3


@pytest.mark.parametrize("block", [4, -1, "three", None])
def test_a_hint_at_no_block_is_refused(folder: Path, block: Any) -> None:
    (folder / "reading.json").write_text(json.dumps({"block": block}))

    with pytest.raises(UnsupportedModel, match=r"names the block .* 0 to 3"):
        load(folder)


def test_texts_are_what_stable_diffusion_3_s_pipeline_makes_of_them() -> None:
    parts = make_joint_backbone()
    pipeline = StableDiffusion3Pipeline(
        transformer=parts.transformer,
        scheduler=None,
        vae=parts.vae,
        text_encoder=parts.text.encoder,
        tokenizer=parts.text.tokenizer,
        text_encoder_2=parts.text.second_encoder,
        tokenizer_2=padded_with_nought(),
        text_encoder_3=None,
        tokenizer_3=None,
    )

    found = parts.text.encode_texts(TEXTS)

    context, _, pooled, _ = pipeline.encode_prompt(
        TEXTS, None, None, do_classifier_free_guidance=False, max_sequence_length=77
    )
    width = found.context.shape[2]
    torch.testing.assert_close(found.context, context[:, :77, :width])
    torch.testing.assert_close(found.pooled, pooled)
    assert context.shape[2] == JOINT_WIDTH
    assert not context[:, 77:].any()
    assert not context[..., width:].any()


def test_a_first_encoder_without_projection_sums_up_by_its_last_state(
    folder: Path,
) -> None:
    plain = CLIPTextModel.from_pretrained(folder / "text_encoder")
    plain.save_pretrained(folder / "text_encoder")
    summary = plain.config.hidden_size + 20
    parts = make_joint_backbone(pooled_projection_dim=summary)
    parts.transformer.save_pretrained(folder / "transformer")

    found = load(folder)

    encoded = found.text.encode_texts(TEXTS)
    assert encoded.pooled is not None
    assert encoded.pooled.shape == (3, summary)


def test_latents_lie_between_image_and_noise() -> None:
    parts = make_joint_backbone()
    reader = parts.reader(SegmenterOptions(timestep=300))
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand((2, 3, IMAGE_SIDE_PX, 32), generator=generator) * 2 - 1
    noise = torch.randn((2, LATENT_CHANNELS, 16, 8), generator=generator)

    found = reader.latents(pixels, noise=noise, jitter=None)

    with torch.no_grad():
        mean = parts.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(found, 0.7 * (mean - 0.0609) * 1.5305 + 0.3 * noise)


def test_texts_wider_than_the_transformer_reads_are_refused(folder: Path) -> None:
    parts = make_joint_backbone(joint_attention_dim=32)
    parts.transformer.save_pretrained(folder / "transformer")

    with pytest.raises(UnsupportedModel, match="give 40 numbers a token"):
        load(folder)


def test_what_takes_more_than_a_latent_is_refused_before_its_weights_are_read(
    folder: Path,
) -> None:
    change_config(folder, "transformer", in_channels=33)
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()

    with pytest.raises(UnsupportedModel, match="33 input channels for latents of 6"):
        load(folder)


@pytest.mark.parametrize("mode", ["fast", "paper"])
def test_both_modes_read_any_number_of_labels_of_any_shape(
    saved: Path, mode: Any, picture: NDArray[np.uint8]
) -> None:
    options = SegmenterOptions(mode=mode, presence="off", caption=False)
    segmenter = load_segmenter(str(saved), options, device="cpu")
    many = tuple(f"traffic light number {number}" for number in range(12))

    (found,) = segmenter.score([picture], [many])

    # 48 by 72 pixels; patches of 8. Paper mode squashes.
    assert found.maps.shape == (12, *((7, 10) if mode == "fast" else (8, 8)))
    assert len({one.tobytes() for one in found.maps}) == 12
    assert found.features is not None
    assert found.layers is not None
    (without,) = segmenter.score([picture], [()])
    assert without.layers is not None


# torch's compiler uses parts of torch that it warns of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_is_compiled_where_that_is_asked_for(saved: Path) -> None:
    assert load(saved, compiles=True).vae.encoder._compiled_call_impl is not None
    assert load(saved).vae.encoder._compiled_call_impl is None


def test_a_model_of_this_family_is_read_by_its_own_recipe(
    folder: Path, image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    save_auxiliary(folder, "image_text", image_text)
    recipe = recipe_options("sd3", "fast", {})
    assert recipe.timestep == 515

    by_default = load_segmenter(str(folder), device="cpu")

    assert by_default.options == recipe
    # Shares, not stretched: no label reaches 1.
    assert 0 < score_one(by_default, picture).max() < 1
