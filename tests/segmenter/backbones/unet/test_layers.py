import pytest
import torch

from segmenter.backbones.cross_attention import LayerPlan
from segmenter.backbones.unet.layers import Layer, plan_layers, scan_layers
from segmenter.errors import UnsupportedModel
from segmenter.options import SelfAttentionLayers
from tests.segmenter.tiny_models import (
    FOUR_LEVELS,
    NO_LATENT_LEVEL,
    PAPER_WEIGHTS,
    TEXT_WIDTH,
    THREE_LEVELS,
    make_unet,
)

CONTEXT = torch.zeros(1, 3, TEXT_WIDTH)


def plan(
    layers: tuple[Layer, ...],
    *,
    level_weights: tuple[float, ...] = PAPER_WEIGHTS,
    products: int = 1,
    own: SelfAttentionLayers = "all",
) -> LayerPlan:
    return plan_layers(
        layers,
        level_weights=level_weights,
        self_attention_products=products,
        self_attention_layers=own,
    )


@pytest.mark.parametrize(
    ("down_blocks", "depths"),
    [
        (FOUR_LEVELS, [0, 1, 2, 3, 2, 2, 1, 1, 0, 0]),
        (THREE_LEVELS, [0, 1, 2, 2, 2, 2, 1, 1, 0, 0]),
        (NO_LATENT_LEVEL, [1, 1, 1, 1]),
    ],
)
def test_scan_finds_every_layer_in_the_order_of_execution(
    down_blocks: tuple[str, ...], depths: list[int]
) -> None:
    unet = make_unet(down_blocks)

    found = scan_layers(unet, CONTEXT, None)

    assert {layer.name + ".processor" for layer in found} == set(unet.attn_processors)
    cross = [layer for layer in found if layer.kind == "cross"]
    assert [layer.depth for layer in cross] == depths
    own = [layer for layer in found if layer.kind == "self"]
    assert [layer.depth for layer in own] == depths


def test_levels_are_weighed_from_the_coarsest_and_without_weight_not_read() -> None:
    layers = scan_layers(make_unet(FOUR_LEVELS), CONTEXT, None)

    found = plan(layers, level_weights=(0.15, 0.7, 0.15, 0.0))

    assert list(found.weights.items()) == [(3, 0.15), (2, 0.7), (1, 0.15)]
    assert set(found.cross.values()) == {1, 2, 3}


def test_fewer_levels_use_the_first_weights_and_further_levels_none() -> None:
    three = scan_layers(make_unet(THREE_LEVELS), CONTEXT, None)

    assert list(plan(three).weights.items()) == [(2, 0.3), (1, 0.5), (0, 0.1)]
    assert list(plan(three, level_weights=(1.0, 2.0)).weights) == [2, 1]


def test_the_decoder_s_first_two_layers_are_kept_and_nothing_behind_is_needed() -> None:
    layers = scan_layers(make_unet(FOUR_LEVELS), CONTEXT, None)

    found = plan(layers, level_weights=(0.15, 0.7, 0.15, 0.0), own="decoder")

    names = [f"up_blocks.3.attentions.{i}.transformer_blocks.0.attn1" for i in (0, 1)]
    # The tiny U-Net's last block attends not; its latent level is one block earlier.
    own = [x.name for x in layers if x.kind == "self" and x.depth == 0]
    decoder = [name for name in own if name.startswith("up_blocks")]
    assert found.self_attention == frozenset(decoder[:2])
    assert len(names) == len(found.self_attention)
    assert found.last == decoder[1]
    assert plan(layers).self_attention == frozenset(own)


def test_of_a_longer_decoder_two_layers_are_kept_of_an_encoder_alone_all() -> None:
    cross = Layer(name="mid_block.attn2", kind="cross", depth=1)

    def own(block: str) -> list[Layer]:
        return [
            Layer(name=f"{block}.{n}.attn1", kind="self", depth=0) for n in range(4)
        ]

    both = plan((*own("down_blocks"), cross, *own("up_blocks")), own="decoder")
    encoder = plan((*own("down_blocks"), cross), own="decoder")

    assert both.self_attention == {"up_blocks.0.attn1", "up_blocks.1.attn1"}
    assert both.last == "up_blocks.1.attn1"
    assert encoder.self_attention == {f"down_blocks.{n}.attn1" for n in range(4)}


def test_maps_are_as_fine_as_the_finest_self_attention() -> None:
    layers = scan_layers(make_unet(NO_LATENT_LEVEL), CONTEXT, None)

    assert plan(layers).depth == 1


def test_without_products_no_self_attention_is_read() -> None:
    layers = scan_layers(make_unet(THREE_LEVELS), CONTEXT, None)

    found = plan(layers, products=0)

    assert found.self_attention == frozenset()
    assert found.names == found.cross.keys()


def test_a_unet_without_attention_is_refused() -> None:
    own = Layer(name="a", kind="self", depth=0)
    cross = Layer(name="b", kind="cross", depth=0)

    with pytest.raises(UnsupportedModel, match="no cross-attention"):
        plan((own,))
    with pytest.raises(UnsupportedModel, match="self_attention_products to 0"):
        plan((cross,))
    assert plan((cross,), products=0).last == "b"


def test_features_are_read_of_the_decoder_at_the_finest_grid_and_one_above() -> None:
    layers = scan_layers(make_unet(FOUR_LEVELS), CONTEXT, None)

    found = plan(layers, level_weights=(0.15, 0.7, 0.15, 0.0), own="decoder")

    assert set(found.features) <= found.names
    assert sorted(found.features.values()) == [0, 0, 1, 1]
    assert all(name.startswith("up_blocks") for name in found.features)
    assert {name for name, depth in found.features.items() if depth == 0} == (
        found.self_attention
    )


def test_features_change_nothing_of_what_is_read() -> None:
    layers = scan_layers(make_unet(FOUR_LEVELS), CONTEXT, None)

    found = plan(layers, level_weights=(1.0,), products=0)

    assert found.features == {}
    assert found.names == found.cross.keys()
