"""PixArt's folders, scaled down: through the real loader, and against plain sums."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PixArtSigmaPipeline
from numpy.typing import NDArray
from torch import Tensor

from segmenter import (
    ModelSource,
    SegmenterOptions,
    UnsupportedModel,
    load_segmenter,
    recipe_options,
)
from segmenter.backbones import Sample, SampleReading, VocabularyTokens, load_backbone
from segmenter.backbones.attention import AttentionCall, capture
from segmenter.backbones.pixart import PixArtBackbone
from segmenter.backbones.pixart.backbone import plan_blocks
from segmenter.predictor import Segmenter
from segmenter.text import build_vocabulary
from tests.segmenter.asking import LABELS, calls_of, score_one
from tests.segmenter.tiny_transformers import (
    ALPHA,
    PIXART_BLOCKS,
    T5_WIDTH,
    T5_WINDOW,
    make_pixart_backbone,
    make_pixart_transformer,
    make_t5_tokenizer,
    save_pixart,
)

CPU = torch.device("cpu")
BARE = SegmenterOptions(presence="off")
TWICE = SegmenterOptions(presence="off", self_attention_products=2)
TEXTS = ["cat, traffic light, Dog", "", "a photograph of a 猫"]


@pytest.fixture(scope="module", params=[{}, ALPHA], ids=["sigma", "alpha"])
def parts(request: pytest.FixtureRequest) -> PixArtBackbone:
    return make_pixart_backbone(**request.param)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "pixart"
    save_pixart(folder, make_pixart_backbone())
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "pixart")


def load(folder: Path) -> PixArtBackbone:
    found = load_backbone(
        ModelSource.parse(str(folder)), device=CPU, dtype=torch.float32
    )
    assert isinstance(found, PixArtBackbone)
    return found


def sample_of(parts: PixArtBackbone, latent: Tensor, labels: list[str]) -> Sample:
    vocabulary = build_vocabulary(parts.text.tokenizer, labels)
    encoded = parts.text.encode(vocabulary.token_ids)
    return Sample(
        latent=latent,
        text=encoded.sample(0),
        tokens=VocabularyTokens(
            texts=encoded, kept=vocabulary.kept, weights=vocabulary.read
        ),
    )


def layer_inputs(parts: PixArtBackbone, sample: Sample) -> dict[str, Any]:
    """What goes into each attention layer: (queries' source, keys' source)."""
    found: dict[str, Any] = {}

    def listen(name: str) -> Any:
        def note(module: Any, args: Any, kwargs: Any) -> None:
            context = kwargs.get("encoder_hidden_states")
            found[name] = (args[0], args[0] if context is None else context)

        return note

    transformer = parts.transformer
    handles = [
        module.register_forward_pre_hook(listen(name), with_kwargs=True)
        for name, module in transformer.named_modules()
        if name.endswith((".attn1", ".attn2"))
    ]
    sizes: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if transformer.use_additional_conditions:
        rows, columns = (4 * side for side in sample.latent.shape[1:])
        sizes["resolution"] = torch.tensor([[float(rows), float(columns)]])
        sizes["aspect_ratio"] = torch.tensor([[rows / columns]])
    try:
        with torch.no_grad():
            transformer(
                sample.latent[None],
                encoder_hidden_states=sample.text.context,
                encoder_attention_mask=sample.text.mask,
                timestep=torch.tensor([100]),
                added_cond_kwargs=sizes,
            )
    finally:
        for handle in handles:
            handle.remove()
    return found


def explicit_softmax(layer: Any, cells: Tensor, source: Tensor) -> Tensor:
    """Mean over heads: float64 (Q, K), exponentials written out."""

    def project(linear: Any, given: Tensor) -> Tensor:
        flat = given[0].double() @ linear.weight.double().T + linear.bias.double()
        return flat.unflatten(1, (layer.heads, -1)).transpose(0, 1)

    query, key = project(layer.to_q, cells), project(layer.to_k, source)
    weights = (query @ key.transpose(1, 2) / query.shape[2] ** 0.5).exp()
    return (weights / weights.sum(dim=2, keepdim=True)).mean(dim=0)


def read(parts: PixArtBackbone, *samples: Sample) -> list[SampleReading]:
    return parts.reader(TWICE).read(samples)


@pytest.mark.parametrize("latent_yx", [(16, 16), (8, 20)], ids=["square", "oblong"])
def test_maps_are_attention_to_the_words_and_not_to_the_padding(
    parts: PixArtBackbone, latent_yx: tuple[int, int]
) -> None:
    latent = torch.randn(4, *latent_yx, generator=torch.Generator().manual_seed(0))
    sample = sample_of(parts, latent, ["cat", "traffic light", "zebra"])
    assert sample.text.mask is not None
    n_tokens = int(sample.text.mask.sum())
    assert n_tokens < T5_WINDOW

    (reading,) = read(parts, sample)

    inputs = layer_inputs(parts, sample)
    blocks = parts.transformer.transformer_blocks
    attention = torch.stack(
        [
            explicit_softmax(block.attn2, cells, source[:, :n_tokens])
            for number, block in enumerate(blocks)
            for cells, source in [inputs[f"transformer_blocks.{number}.attn2"]]
        ]
    ).mean(dim=0)
    assert isinstance(sample.tokens, VocabularyTokens)
    expected = sample.tokens.weights[:, :n_tokens].double() @ attention.T
    found = reading.levels[0].maps
    assert found.shape == (4, latent_yx[0] // 2, latent_yx[1] // 2)
    torch.testing.assert_close(found.flatten(1).double(), expected, rtol=0, atol=1e-5)
    assert float(expected.amax() / expected.amin()) > 2


@pytest.mark.parametrize("latent_yx", [(16, 16), (8, 20)], ids=["square", "oblong"])
def test_maps_are_refined_by_the_self_attention_of_the_middle(
    parts: PixArtBackbone, latent_yx: tuple[int, int]
) -> None:
    latent = torch.randn(4, *latent_yx, generator=torch.Generator().manual_seed(0))
    sample = sample_of(parts, latent, ["cat"])
    maps = torch.rand(2, latent_yx[0] // 2, latent_yx[1] // 2)

    (reading,) = read(parts, sample)
    refined = reading.refine(maps)

    inputs = layer_inputs(parts, sample)
    # Blocks 10 to 17 of 28 are 2 and 3 of 6.
    own = torch.stack(
        [
            explicit_softmax(parts.transformer.transformer_blocks[block].attn1, *given)
            for block in (2, 3)
            for given in [inputs[f"transformer_blocks.{block}.attn1"]]
        ]
    ).mean(dim=0)
    torch.testing.assert_close(
        refined.flatten(1).double(),
        maps.flatten(1).double() @ own.T,
        rtol=0,
        atol=1e-5,
    )


def test_the_blocks_of_pixart_s_28_are_goca_s() -> None:
    plan = plan_blocks(
        28, depth=1, self_attention_products=5, self_attention_layers="decoder"
    )

    assert plan.self_attention == {
        f"transformer_blocks.{block}.attn1" for block in range(10, 18)
    }
    assert len(plan.cross) == 28
    assert plan.features == plan.depths == {"transformer_blocks.13.attn2": 1}


def test_the_model_s_own_output_is_bit_identical_while_it_is_watched() -> None:
    transformer = make_pixart_transformer()
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9)[None] < 5
    given: dict[str, Any] = {
        "encoder_hidden_states": torch.randn(1, 9, T5_WIDTH, generator=generator),
        "encoder_attention_mask": mask,
        "timestep": torch.tensor([100]),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }
    latent = torch.randn(1, 4, 8, 20, generator=generator)
    calls: list[AttentionCall] = []

    with torch.no_grad():
        plain = transformer(latent, **given).sample
        with capture(transformer, calls.append):
            watched = transformer(latent, **given).sample

    assert torch.equal(watched, plain)
    assert [call.kind for call in calls] == ["self", "cross"] * PIXART_BLOCKS
    # What fills the window gets nothing.
    assert not calls[1].probabilities()[..., 5:].any()


def test_texts_are_what_pixart_s_pipeline_makes_of_them() -> None:
    parts = make_pixart_backbone()
    plain = make_t5_tokenizer()
    pipeline = PixArtSigmaPipeline(
        tokenizer=plain,
        text_encoder=parts.text.encoder,
        vae=parts.vae,
        transformer=parts.transformer,
        scheduler=parts.scheduler,
    )

    found = parts.text.encode_texts(TEXTS)

    context, mask, _, _ = pipeline.encode_prompt(
        TEXTS, do_classifier_free_guidance=False, max_sequence_length=T5_WINDOW
    )
    assert found.mask is not None
    assert torch.equal(found.mask, mask.bool())
    torch.testing.assert_close(found.context, context)


def test_what_is_loaded_makes_the_maps_of_the_parts_in_memory(
    saved: Path, picture: NDArray[np.uint8]
) -> None:
    in_memory = Segmenter(make_pixart_backbone(), BARE)

    loaded = load_segmenter(str(saved), BARE, device="cpu")

    found = score_one(loaded, picture)
    assert found.shape == (len(LABELS), 7, 10)
    np.testing.assert_array_equal(found, score_one(in_memory, picture))


@pytest.mark.parametrize("mode", ["fast", "paper"])
def test_both_modes_read_any_number_of_labels_in_one_pass_each(
    saved: Path, mode: Any, picture: NDArray[np.uint8]
) -> None:
    options = SegmenterOptions(mode=mode, presence="off", caption=False)
    backbone = load(saved)
    segmenter = Segmenter(backbone, options)
    many = tuple(f"cat {number} light" for number in range(12))

    with calls_of(backbone.transformer.pos_embed) as batches:
        (found,) = segmenter.score([picture], [many])

    # Paper mode: four labels in a batch.
    assert batches == ([1] if mode == "fast" else [4, 4, 4])
    assert len({one.tobytes() for one in found.maps}) == 12
    assert found.features is not None
    assert found.layers is not None
    (without,) = segmenter.score([picture], [()])
    assert without.layers is not None


def test_its_own_recipe_reads_five_times_refined_maps(
    saved: Path, picture: NDArray[np.uint8]
) -> None:
    own = recipe_options("pixart", "fast", {"presence": "off"})
    assert own.self_attention_products == 5

    found = score_one(load_segmenter(str(saved), own, device="cpu"), picture)

    assert len({one.tobytes() for one in found}) == len(LABELS)


def test_sigma_reads_longer_texts_than_alpha(folder: Path) -> None:
    longer = make_t5_tokenizer()
    longer.model_max_length = 512
    longer.save_pretrained(folder / "tokenizer")
    assert load(folder).text.tokenizer.model_max_length == 120

    index = {"_class_name": "PixArtSigmaPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))

    assert load(folder).text.tokenizer.model_max_length == 300


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("transformer", {"in_channels": 9}, "9 input channels for latents of 4"),
        ("text_encoder", {"d_model": 32}, "32 numbers a token; its .* reads 20"),
    ],
)
def test_parts_of_other_models_are_refused_before_weights_are_read(
    folder: Path, part: str, change: dict[str, int], message: str
) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()

    with pytest.raises(UnsupportedModel, match=message):
        load(folder)
