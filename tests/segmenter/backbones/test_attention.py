from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn import functional as F

from segmenter.backbones.attention import (
    AttentionCall,
    attention_probabilities,
    capture,
)
from tests.segmenter.tiny_models import TEXT_WIDTH, THREE_LEVELS, make_unet

N_TOKENS = 7


@pytest.fixture(scope="module")
def unet() -> Any:
    return make_unet()


def run(unet: Any, latent_yx: tuple[int, int] = (8, 12), batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(batch, 4, *latent_yx, generator=generator)
    context = torch.randn(batch, N_TOKENS, TEXT_WIDTH, generator=generator)
    return unet(latent, torch.full((batch,), 100), context).sample


def attention_layers(unet: Any) -> dict[str, Any]:
    return {
        name: module
        for name, module in unet.named_modules()
        if name.endswith((".attn1", ".attn2"))
    }


@contextmanager
def layer_traffic(unet: Any) -> Iterator[dict[str, tuple[Tensor, Tensor, Tensor]]]:
    """What goes into and out of each layer: (queries' source, keys' source, out)."""
    traffic: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def listen(name: str, module: Any) -> Any:
        def note(_: Any, args: Any, kwargs: Any, output: Tensor) -> None:
            context = kwargs.get("encoder_hidden_states")
            traffic[name] = (args[0], args[0] if context is None else context, output)

        return module.register_forward_hook(note, with_kwargs=True)

    handles = [listen(*entry) for entry in attention_layers(unet).items()]
    try:
        yield traffic
    finally:
        for handle in handles:
            handle.remove()


def explicit_softmax(layer: Any, hidden: Tensor, source: Tensor) -> Tensor:
    """(B, H, Q, K) in float64, one head at a time, exponentials written out."""
    width = layer.to_q.weight.shape[0] // layer.heads
    heads = []
    for head in range(layer.heads):
        own = slice(head * width, (head + 1) * width)
        query = hidden.double() @ layer.to_q.weight[own].double().T
        key = source.double() @ layer.to_k.weight[own].double().T
        weights = (query @ key.transpose(1, 2) / width**0.5).exp()
        heads.append(weights / weights.sum(dim=2, keepdim=True))
    return torch.stack(heads, dim=1)


@pytest.mark.parametrize(
    "processor",
    [
        pytest.param(None, id="scaled-dot-product"),
        pytest.param(AttnProcessor(), id="foreign"),
    ],
)
def test_capture_leaves_the_output_bit_identical(processor: Any) -> None:
    unet = make_unet()
    if processor is not None:
        unet.set_attn_processor(processor)
    plain = run(unet)

    with capture(unet, lambda call: None):
        watched = run(unet)

    assert torch.equal(watched, plain)


def test_capture_sees_every_layer_once_and_tells_cross_from_self(unet: Any) -> None:
    calls: list[AttentionCall] = []

    with capture(unet, calls.append):
        run(unet)

    expected = {
        name: "self" if name.endswith("attn1") else "cross"
        for name in attention_layers(unet)
    }
    assert len(calls) == len(expected) == 20
    assert {call.layer: call.kind for call in calls} == expected


def test_capture_sees_every_forward_of_the_block(unet: Any) -> None:
    calls: list[AttentionCall] = []

    with capture(unet, calls.append):
        run(unet)
        run(unet)

    assert len(calls) == 40


def test_capture_reads_shapes_by_batch_heads_cells_and_width(unet: Any) -> None:
    calls: dict[str, AttentionCall] = {}

    with capture(unet, lambda call: calls.update({call.layer: call})):
        run(unet, latent_yx=(8, 12), batch=2)

    first = "down_blocks.0.attentions.0.transformer_blocks.0"
    assert calls[f"{first}.attn1"].query.shape == (2, 2, 96, 4)
    assert calls[f"{first}.attn1"].key.shape == (2, 2, 96, 4)
    assert calls[f"{first}.attn2"].key.shape == (2, 2, N_TOKENS, 4)


@pytest.mark.parametrize("down_blocks", [("CrossAttnDownBlock2D",), THREE_LEVELS])
def test_probabilities_are_those_of_a_hand_written_forward(
    down_blocks: tuple[str, ...],
) -> None:
    unet = make_unet(down_blocks)
    calls: dict[str, AttentionCall] = {}

    with (
        layer_traffic(unet) as traffic,
        capture(unet, lambda call: calls.update({call.layer: call})),
    ):
        run(unet)

    assert calls.keys() == attention_layers(unet).keys()
    for name, layer in attention_layers(unet).items():
        hidden, source, output = traffic[name]
        expected = explicit_softmax(layer, hidden, source)
        found = calls[name].probabilities()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
        # The same probabilities on the layer's own values give the layer's output.
        values = layer.to_v(source).unflatten(2, (layer.heads, -1)).transpose(1, 2)
        mixed = (found @ values).transpose(1, 2).flatten(2)
        rebuilt = F.linear(mixed, layer.to_out[0].weight, layer.to_out[0].bias)
        torch.testing.assert_close(rebuilt, output, rtol=1e-4, atol=1e-5)


def test_attention_of_the_tiny_models_prefers_something(unet: Any) -> None:
    sharpest = []

    def note(call: AttentionCall) -> None:
        even = 1 / call.key.shape[2]
        sharpest.append(float(call.probabilities().amax()) / even)

    with capture(unet, note):
        run(unet)

    assert min(sharpest) > 1.2


def test_rows_are_those_rows_of_the_whole() -> None:
    query, key = torch.randn(2, 3, 10, 4), torch.randn(2, 3, 6, 4)
    call = AttentionCall(
        layer="x",
        kind="self",
        states=torch.zeros(2, 10, 8),
        query=query,
        key=key,
        scale=0.5,
        project=lambda source: source,
    )

    some = call.rows(slice(7, 12)).probabilities()

    torch.testing.assert_close(some, call.probabilities()[:, :, 7:])


def test_probabilities_of_half_precision_are_computed_in_float32() -> None:
    query, key = torch.randn(1, 1, 5, 4).half(), torch.randn(1, 1, 6, 4).half()

    found = attention_probabilities(query, key, 0.5)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(1, 1, 5))


def test_capture_puts_processors_back_when_the_block_ends(unet: Any) -> None:
    before = dict(unet.attn_processors)

    with capture(unet, lambda call: None):
        during = dict(unet.attn_processors)

    assert all(during[name] is not before[name] for name in before)
    assert unet.attn_processors == before


def test_capture_puts_processors_back_when_the_block_raises(unet: Any) -> None:
    before = dict(unet.attn_processors)

    with pytest.raises(KeyError), capture(unet, lambda call: None):
        raise KeyError

    assert unet.attn_processors == before


def test_capture_puts_processors_back_when_the_reader_raises(unet: Any) -> None:
    before = dict(unet.attn_processors)
    seen: list[AttentionCall] = []

    def read_three(call: AttentionCall) -> None:
        seen.append(call)
        if len(seen) == 3:
            raise MemoryError

    with pytest.raises(MemoryError), capture(unet, read_three):
        run(unet)

    assert unet.attn_processors == before
    assert len(seen) == 3


def test_capture_puts_processors_back_when_the_forward_raises(unet: Any) -> None:
    before = dict(unet.attn_processors)

    with pytest.raises(RuntimeError), capture(unet, lambda call: None):
        unet(torch.zeros(1, 4, 8, 8), 100, torch.zeros(1, 3, TEXT_WIDTH + 1))

    assert unet.attn_processors == before


def test_capture_inside_capture_serves_both_readers(unet: Any) -> None:
    before = dict(unet.attn_processors)
    outer: list[str] = []
    inner: list[str] = []

    with capture(unet, lambda call: outer.append(call.layer)):
        with capture(unet, lambda call: inner.append(call.layer)):
            run(unet)
        run(unet)

    assert outer == inner * 2
    assert unet.attn_processors == before
