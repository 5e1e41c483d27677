"""What one block of a tiny transformer is read for, against plain arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from segmenter.backbones import PromptTokens, Sample, SampleReading, VocabularyTokens
from segmenter.backbones.attention import AttentionCall, capture
from segmenter.backbones.joint.reading import T5_TOKENS, conditions, read_samples
from segmenter.text import TextEncoding
from tests.segmenter.asking import calls_of
from tests.segmenter.tiny_transformers import (
    FIRST_SUMMARY,
    FIRST_WIDTH,
    LATENT_CHANNELS,
    SD35,
    SECOND_SUMMARY,
    SECOND_WIDTH,
    make_sd3_transformer,
)

N_TOKENS = 9
SIGMA_01 = 0.515


@pytest.fixture(scope="module", params=[{}, SD35], ids=["sd3", "sd3.5"])
def transformer(request: pytest.FixtureRequest) -> Any:
    return make_sd3_transformer(**request.param)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(n_texts: int) -> TextEncoding:
    return TextEncoding(
        context=draw(n_texts, N_TOKENS, FIRST_WIDTH + SECOND_WIDTH, seed=1),
        pooled=draw(n_texts, FIRST_SUMMARY + SECOND_SUMMARY, seed=2),
    )


def prompt_sample(latent: Tensor, rows: int = 3) -> Sample:
    weights = torch.zeros(rows, N_TOKENS)
    for row in range(rows):
        weights[row, row : 2 * row + 1] = 1 / (row + 1)
    return Sample(latent=latent, text=texts(1), tokens=PromptTokens(weights=weights))


def vocabulary_sample(latent: Tensor, n_texts: int) -> Sample:
    """Of the texts but the first, two tokens are kept; a row for each token."""
    kept = torch.ones(n_texts, N_TOKENS, dtype=torch.bool)
    kept[1:] = False
    kept[1:, 3:5] = True
    tokens = VocabularyTokens(
        texts=texts(n_texts), kept=kept, weights=torch.eye(int(kept.sum()))
    )
    return Sample(latent=latent, text=tokens.texts.sample(0), tokens=tokens)


def read(transformer: Any, *samples: Sample, block: int = 1) -> list[SampleReading]:
    return read_samples(transformer, samples, block=block, sigma_01=SIGMA_01)


@contextmanager
def inputs_of(layer: Any) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Cells and tokens that go into a joint layer in the block."""
    found: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(
            (kwargs["hidden_states"], kwargs["encoder_hidden_states"])
        ),
        with_kwargs=True,
    )
    try:
        yield found
    finally:
        handle.remove()


def project(linear: Any, norm: Any, source: Tensor, heads: int) -> Tensor:
    """Queries or keys of one text: float64 (H, N, d), root-mean-square norm spelled."""
    flat = source[0].double() @ linear.weight.double().T + linear.bias.double()
    split = flat.unflatten(1, (heads, -1)).transpose(0, 1)
    if norm is not None:
        mean_square = split.pow(2).mean(dim=2, keepdim=True)
        split = split / (mean_square + norm.eps).sqrt() * norm.weight.double()
    return split


def exponentials(
    transformer: Any, latent: Tensor, text: TextEncoding, block: int
) -> tuple[Tensor, Tensor]:
    """exp(score) of cells with cells and tokens, the whole model run: (H, Q, .)."""
    layer = transformer.transformer_blocks[block].attn
    with torch.no_grad(), inputs_of(layer) as found:
        given = conditions(transformer, [text], sigma_01=SIGMA_01)
        transformer(hidden_states=latent[None], **given)
    ((cells, tokens),) = found
    query = project(layer.to_q, layer.norm_q, cells, layer.heads)
    cell_keys = project(layer.to_k, layer.norm_k, cells, layer.heads)
    token_keys = project(layer.add_k_proj, layer.norm_added_k, tokens, layer.heads)
    scale = query.shape[2] ** -0.5
    return (
        (query @ cell_keys.transpose(1, 2) * scale).exp(),
        (query @ token_keys.transpose(1, 2) * scale).exp(),
    )


@pytest.mark.parametrize("latent_yx", [(16, 16), (8, 20)], ids=["square", "oblong"])
@pytest.mark.parametrize("block", [0, 2])
def test_maps_are_the_columns_of_a_softmax_over_cells_and_tokens(
    transformer: Any, latent_yx: tuple[int, int], block: int
) -> None:
    latent = draw(LATENT_CHANNELS, *latent_yx)
    sample = prompt_sample(latent)

    (reading,) = read(transformer, sample, block=block)

    cells, tokens = exponentials(transformer, latent, sample.text, block)
    assert tokens.shape[2] == N_TOKENS + T5_TOKENS
    whole = cells.sum(dim=2, keepdim=True) + tokens.sum(dim=2, keepdim=True)
    columns = (tokens / whole).mean(dim=0)[:, :N_TOKENS]
    assert isinstance(sample.tokens, PromptTokens)
    expected = sample.tokens.weights.double() @ columns.T
    (level,) = reading.levels
    assert level.maps.shape == (3, latent_yx[0] // 2, latent_yx[1] // 2)
    torch.testing.assert_close(
        level.maps.flatten(1).double(), expected, rtol=0, atol=1e-5
    )
    # There is something to see: a softmax that prefers nothing would pass as well.
    assert float(expected.amax() / expected.amin()) > 2


def test_tokens_of_further_texts_stand_beside_the_first_ones_in_one_softmax(
    transformer: Any,
) -> None:
    latent = draw(LATENT_CHANNELS, 8, 20)
    sample = vocabulary_sample(latent, n_texts=3)

    (reading,) = read(transformer, sample)

    assert isinstance(sample.tokens, VocabularyTokens)
    odds = []
    for number in range(3):
        text = sample.tokens.texts.sample(number)
        cells, tokens = exponentials(transformer, latent, text, 1)
        # What a token weighs beside all cells in its own pass.
        odds.append(tokens / cells.sum(dim=2, keepdim=True))
    others = torch.cat([odds[1][..., 3:5], odds[2][..., 3:5]], dim=2)
    whole = 1 + odds[0].sum(dim=2, keepdim=True) + others.sum(dim=2, keepdim=True)
    expected = torch.cat([odds[0][..., :N_TOKENS], others], dim=2) / whole
    found = reading.levels[0].maps.flatten(1).double()
    torch.testing.assert_close(found, expected.mean(dim=0).T, rtol=0, atol=1e-5)


def test_one_text_in_a_vocabulary_is_read_as_a_prompt_is(transformer: Any) -> None:
    latent = draw(LATENT_CHANNELS, 16, 16)
    prompt = Sample(
        latent=latent,
        text=texts(1),
        tokens=PromptTokens(weights=torch.eye(N_TOKENS)),
    )

    found, expected = read(transformer, vocabulary_sample(latent, 1), prompt)

    torch.testing.assert_close(found.levels[0].maps, expected.levels[0].maps)


@pytest.mark.parametrize("latent_yx", [(16, 16), (8, 20)], ids=["square", "oblong"])
def test_maps_are_refined_by_what_cells_attend_to_among_cells(
    transformer: Any, latent_yx: tuple[int, int]
) -> None:
    latent = draw(LATENT_CHANNELS, *latent_yx)
    sample = prompt_sample(latent)
    maps = draw(2, latent_yx[0] // 2, latent_yx[1] // 2, seed=3)

    (reading,) = read(transformer, sample)
    refined = reading.refine(maps)

    cells, tokens = exponentials(transformer, latent, sample.text, 1)
    whole = cells.sum(dim=2, keepdim=True) + tokens.sum(dim=2, keepdim=True)
    mean = (cells / whole).mean(dim=0)
    own = mean / mean.sum(dim=1, keepdim=True)
    torch.testing.assert_close(
        refined.flatten(1).double(),
        maps.flatten(1).double() @ own.T,
        rtol=0,
        atol=1e-5,
    )


def test_the_model_s_own_output_is_bit_identical_while_it_is_watched(
    transformer: Any,
) -> None:
    latent = draw(1, LATENT_CHANNELS, 8, 20)
    given = conditions(transformer, [texts(1)], sigma_01=SIGMA_01)
    calls: list[AttentionCall] = []

    with torch.no_grad():
        plain = transformer(hidden_states=latent, **given).sample
        with capture(transformer, calls.append):
            watched = transformer(hidden_states=latent, **given).sample

    assert torch.equal(watched, plain)
    # Stable Diffusion 3.5 attends among cells once more in some blocks.
    kinds = [call.kind for call in calls]
    assert kinds.count("joint") == 4
    assert kinds.count("self") == len(transformer.config.dual_attention_layers)


def test_nothing_runs_behind_what_is_read(transformer: Any) -> None:
    blocks = transformer.transformer_blocks

    with (
        calls_of(blocks[1].attn.to_q) as read_block,
        calls_of(blocks[1].ff) as behind_it,
        calls_of(blocks[2]) as next_block,
    ):
        read(transformer, prompt_sample(draw(LATENT_CHANNELS, 16, 16)))

    assert read_block == [1]
    assert behind_it == next_block == []


def test_each_text_is_one_pass_of_all_samples_that_have_it(transformer: Any) -> None:
    latents = [draw(LATENT_CHANNELS, 16, 16, seed=seed) for seed in range(3)]
    samples = [
        vocabulary_sample(latent, n_texts)
        for latent, n_texts in zip(latents, (1, 3, 2), strict=True)
    ]

    with calls_of(transformer.pos_embed) as batches:
        together = read(transformer, *samples)

    assert batches == [3, 2, 1]
    for sample, found in zip(samples, together, strict=True):
        (alone,) = read(transformer, sample)
        torch.testing.assert_close(
            found.levels[0].maps, alone.levels[0].maps, rtol=0, atol=1e-6
        )


def test_cells_are_known_by_what_the_block_is_given_of_them(transformer: Any) -> None:
    latent = draw(LATENT_CHANNELS, 8, 20)
    sample = prompt_sample(latent)

    (reading,) = read(transformer, sample)

    with torch.no_grad(), inputs_of(transformer.transformer_blocks[1].attn) as found:
        given = conditions(transformer, [sample.text], sigma_01=SIGMA_01)
        transformer(hidden_states=latent[None], **given)
    cells = found[0][0][0]
    assert reading.layers[0].shape == (24, 4, 10)
    torch.testing.assert_close(reading.layers[0].flatten(1).T, cells)
    assert len(reading.layers) == len(reading.features) == 1
