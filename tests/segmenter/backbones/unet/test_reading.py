"""What one pass of a tiny U-Net reads, against the layers' own arithmetic."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from segmenter import SegmenterOptions
from segmenter.backbones import PromptTokens, Sample, SampleReading, VocabularyTokens
from segmenter.backbones.attention import AttentionCall, capture
from segmenter.backbones.cross_attention import LayerPlan, VocabularyKeys, grid_at
from segmenter.backbones.unet.layers import plan_layers, scan_layers
from segmenter.backbones.unet.reading import read_samples
from segmenter.errors import UnsupportedModel
from segmenter.text import TextEncoding
from tests.segmenter.asking import calls_of
from tests.segmenter.tiny_models import (
    PAPER_WEIGHTS,
    TEXT_WIDTH,
    draw_inputs,
    make_sdxl_parts,
    make_unet,
)

N_TOKENS = 9


@pytest.fixture(scope="module")
def unet() -> Any:
    return make_unet()


@pytest.fixture(scope="module")
def plan(unet: Any) -> LayerPlan:
    return make_plan(unet)


def make_plan(unet: Any, **options: Any) -> LayerPlan:
    chosen: dict[str, Any] = {
        "level_weights": PAPER_WEIGHTS,
        "self_attention_products": 1,
        "self_attention_layers": "all",
        **options,
    }
    layers = scan_layers(unet, torch.zeros(1, 3, TEXT_WIDTH), None)
    return plan_layers(layers, **chosen)


def read(
    unet: Any,
    samples: list[Sample],
    plan: LayerPlan,
    keys: VocabularyKeys | None = None,
) -> list[SampleReading]:
    keys = keys or VocabularyKeys()
    return read_samples(unet, samples, plan, keys, timestep=100, cell_px=4)


def vocabulary(n_texts: int = 2) -> VocabularyTokens:
    """Two texts, of the second of which only two tokens are kept; three rows."""
    generator = torch.Generator().manual_seed(7)
    kept = torch.ones(n_texts, N_TOKENS, dtype=torch.bool)
    kept[1:] = False
    kept[1:, 3:5] = True
    n_kept = int(kept.sum())
    weights = torch.zeros(3, n_kept)
    weights[0, 1] = weights[2, 0] = 1
    weights[1, -2:] = 0.5
    context = torch.randn(n_texts, N_TOKENS, TEXT_WIDTH, generator=generator)
    return VocabularyTokens(
        texts=TextEncoding(context=context), kept=kept, weights=weights
    )


def sample_of(tokens: VocabularyTokens, latent: Tensor) -> Sample:
    return Sample(latent=latent, text=tokens.texts.sample(0), tokens=tokens)


@pytest.mark.parametrize(
    ("latent_yx", "depth", "expected"),
    [
        ((5, 7), 0, (5, 7)),
        ((5, 7), 1, (3, 4)),
        ((5, 7), 2, (2, 2)),
        ((8, 12), 2, (2, 3)),
        ((1, 9), 3, (1, 2)),
    ],
)
def test_grid_at_halves_odd_sides_upwards(
    latent_yx: tuple[int, int], depth: int, expected: tuple[int, int]
) -> None:
    assert grid_at(latent_yx, depth) == expected


@pytest.mark.parametrize("latent_yx", [(15, 23), (8, 12)])
def test_levels_are_the_grids_on_which_the_unet_attends(
    unet: Any, plan: LayerPlan, latent_yx: tuple[int, int]
) -> None:
    latent, context, weights = draw_inputs(latent_yx, batch=1)
    cells: dict[int, int] = {}
    with capture(
        unet,
        lambda call: cells.update({plan.cross[call.layer]: call.cells}),
        layers=plan.cross,
    ):
        unet(latent, 100, context)

    (reading,) = read(
        unet,
        [
            Sample(
                latent=latent[0],
                text=TextEncoding(context=context),
                tokens=PromptTokens(weights=weights),
            )
        ],
        plan,
    )

    assert [level.weight for level in reading.levels] == list(PAPER_WEIGHTS)
    for depth, level in zip((3, 2, 1, 0), reading.levels, strict=True):
        rows, columns = level.maps.shape[1:]
        assert rows * columns == cells[depth]
        # As near to the latent's shape as whole cells allow.
        assert (rows, columns) == tuple(-(-side // 2**depth) for side in latent_yx)


def test_a_level_is_the_mean_over_its_layers_heads_and_the_row_s_tokens(
    unet: Any, plan: LayerPlan
) -> None:
    latent, context, _ = draw_inputs((8, 12), batch=1)
    weights = torch.zeros(2, N_TOKENS)
    weights[0, 4] = 1
    weights[1, 5:7] = 0.5
    calls: list[AttentionCall] = []
    with capture(unet, calls.append, layers=plan.cross):
        unet(latent, 100, context)

    (reading,) = read(
        unet,
        [
            Sample(
                latent=latent[0],
                text=TextEncoding(context=context),
                tokens=PromptTokens(weights=weights),
            )
        ],
        plan,
    )

    for depth, level in zip(plan.weights, reading.levels, strict=True):
        heads = torch.cat(
            [c.probabilities()[0] for c in calls if plan.cross[c.layer] == depth]
        )
        mean = heads.mean(dim=0)  # (Q, K)
        expected = torch.stack([mean[:, 4], mean[:, 5:7].mean(dim=1)])
        torch.testing.assert_close(level.maps.flatten(1), expected)


def test_tokens_of_further_texts_share_one_softmax_with_the_first(
    unet: Any, plan: LayerPlan
) -> None:
    tokens = vocabulary()
    latent, _, _ = draw_inputs((8, 12), batch=1)
    calls: list[AttentionCall] = []
    with capture(unet, calls.append, layers=plan.cross):
        unet(latent, 100, tokens.texts.context[:1])
    finest = [call for call in calls if plan.cross[call.layer] == 0]

    (reading,) = read(unet, [sample_of(tokens, latent[0])], plan)

    listed = torch.cat([tokens.texts.context[0], tokens.texts.context[1, 3:5]])
    heads = torch.cat(
        [
            ((call.query[0] @ call.project(listed[None])[0].mT) * call.scale).softmax(2)
            for call in finest
        ]
    )
    mean = heads.mean(dim=0)  # (Q, T)
    expected = torch.stack([mean[:, 1], mean[:, -2:].mean(dim=1), mean[:, 0]])
    torch.testing.assert_close(reading.levels[-1].maps.flatten(1), expected)


def test_samples_of_a_batch_keep_their_own_tokens_and_latents(
    unet: Any, plan: LayerPlan
) -> None:
    latents = [draw_inputs((8, 12), batch=1)[0][0] * factor for factor in (1, -1, 2)]
    shared, other = vocabulary(), vocabulary(n_texts=1)
    other = replace(other, weights=other.weights[:2])
    samples = [
        sample_of(tokens, latent)
        for tokens, latent in zip((shared, shared, other), latents, strict=True)
    ]

    together = read(unet, samples, plan)

    assert [len(one.levels[0].maps) for one in together] == [3, 3, 2]
    for sample, found in zip(samples, together, strict=True):
        (alone,) = read(unet, [sample], plan)
        for level, expected in zip(found.levels, alone.levels, strict=True):
            torch.testing.assert_close(level.maps, expected.maps, rtol=1e-4, atol=1e-5)
        maps = torch.rand(2, 8, 12)
        torch.testing.assert_close(
            found.refine(maps), alone.refine(maps), rtol=1e-4, atol=1e-5
        )


def test_refine_is_the_mean_self_attention_of_the_layers_that_the_plan_keeps(
    unet: Any,
) -> None:
    plan = make_plan(unet, self_attention_layers="decoder")
    tokens = vocabulary()
    latent, _, _ = draw_inputs((8, 12), batch=1)
    calls: list[AttentionCall] = []
    with capture(unet, calls.append, layers=plan.self_attention):
        unet(latent, 100, tokens.texts.context[:1])

    (reading,) = read(unet, [sample_of(tokens, latent[0])], plan)

    maps = torch.rand(3, 8, 12)
    matrix = torch.cat([call.probabilities()[0] for call in calls]).mean(dim=0)
    assert len(calls) == 2
    torch.testing.assert_close(
        reading.refine(maps), (maps.flatten(1) @ matrix.T).view_as(maps)
    )


def test_features_are_what_layers_are_given_of_each_cell_of_each_sample(
    unet: Any,
) -> None:
    plan = make_plan(unet, self_attention_layers="decoder")
    tokens = vocabulary()
    latent, _, _ = draw_inputs((8, 12), batch=1)
    latents = torch.cat([latent, -latent])
    calls: dict[str, AttentionCall] = {}
    with capture(unet, lambda call: calls.update({call.layer: call})):
        unet(latents, 100, tokens.texts.context[:1].repeat(2, 1, 1))

    samples = [sample_of(tokens, latent) for latent in latents]
    readings = read(unet, samples, plan)

    for index, reading in enumerate(readings):
        assert len(reading.features) == len(plan.features) > 2
        # In the order of execution.
        layers = [layer for layer in calls if layer in plan.features]
        for layer, found in zip(layers, reading.features, strict=True):
            depth = plan.features[layer]
            assert found.shape[1:] == (8 >> depth, 12 >> depth)
            torch.testing.assert_close(
                found.flatten(1).T, calls[layer].states[index], rtol=1e-4, atol=1e-5
            )


def test_the_unet_stops_at_the_last_layer_read_with_all_that_was_read_before(
    unet: Any,
) -> None:
    plan = make_plan(unet, level_weights=(1.0,), self_attention_products=0)
    latent, _, _ = draw_inputs((8, 12), batch=1)

    with calls_of(unet.mid_block) as middle, calls_of(unet.up_blocks[0]) as behind:
        (reading,) = read(unet, [sample_of(vocabulary(), latent[0])], plan)

    assert (middle, behind) == ([1], [])
    assert [level.maps.shape for level in reading.levels] == [(3, 1, 2)]


def test_sdxl_is_told_the_size_of_the_window_rows_first() -> None:
    backbone = make_sdxl_parts()
    text = backbone.text.encode_texts(["cat"])
    tokens = PromptTokens(weights=torch.eye(text.context.shape[1])[1:2])
    sample = Sample(latent=torch.zeros(4, 8, 12), text=text, tokens=tokens)
    told: list[Tensor] = []
    handle = backbone.unet.register_forward_pre_hook(
        lambda module, args, kwargs: told.append(
            kwargs["added_cond_kwargs"]["time_ids"]
        ),
        with_kwargs=True,
    )

    backbone.reader(SegmenterOptions(mode="paper")).read([sample])

    handle.remove()
    # The layers were looked for on a square; then 8 by 12 cells of 4 pixels.
    assert told[-1].tolist() == [[32, 48, 0, 0, 32, 48]]


def test_keys_of_a_vocabulary_are_kept_as_long_as_it_lives(
    unet: Any, plan: LayerPlan
) -> None:
    keys, tokens = VocabularyKeys(), vocabulary()
    latent, _, _ = draw_inputs((8, 12), batch=1)
    to_k = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k

    counts = []
    for _ in range(2):
        with calls_of(to_k) as calls:
            read(unet, [sample_of(tokens, latent[0])], plan, keys)
        counts.append(len(calls))

    assert counts[1] == counts[0] - 1
    assert len(keys._kept) == 1
    gone = weakref.ref(tokens)
    del tokens
    gc.collect()
    assert gone() is None
    assert len(keys._kept) == 0


def test_a_unet_that_attends_on_other_grids_is_refused(
    unet: Any, plan: LayerPlan
) -> None:
    wrong = replace(plan, cross=dict.fromkeys(plan.cross, 2), weights={2: 1.0})
    latent, _, _ = draw_inputs((8, 12), batch=1)
    only_latent = replace(
        wrong,
        cross={name: 2 for name, depth in plan.cross.items() if depth == 0},
    )

    with pytest.raises(UnsupportedModel, match="attends on 96 cells"):
        read(unet, [sample_of(vocabulary(), latent[0])], only_latent)
