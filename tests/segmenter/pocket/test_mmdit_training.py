"""What the pocket MM-DiT's training computes, against diffusers and plain truths."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segmenter.pocket.train import mmdit
from segmenter.pocket.train.data import Average, SceneSet
from segmenter.pocket.train.flow import Batch, FrozenText, Latents
from segmenter.pocket.train.joint_attention import READ_BLOCK, watch
from segmenter.pocket.train.mmdit import SHAPES, new_transformer, train_mmdit
from segmenter.pocket.train.text import draw_list
from segmenter.pocket.words import WORDS
from segmenter.source import POCKET_DIR

GRIDS = [pytest.param((4, 4), id="square"), pytest.param((3, 5), id="oblong")]


@pytest.fixture(scope="module")
def text() -> FrozenText:
    return FrozenText.load(POCKET_DIR)


def latents(cells_yx: tuple[int, int]) -> Latents:
    rows, columns = cells_yx
    scenes = SceneSet.render(
        4, first_seed=0, cell_px=8, size_yx=(8 * rows, 8 * columns)
    )
    return Latents(
        clean=torch.randn(4, 4, 2 * rows, 2 * columns).half(),
        coverage=scenes.coverage,
        words=scenes.words,
    )


def draw(cells_yx: tuple[int, int], text: FrozenText) -> Batch:
    torch.manual_seed(1)
    return Batch.draw(latents(cells_yx), 4, text, random.Random(0))


@torch.no_grad()
def perturbed() -> torch.nn.Module:
    """A transformer whose every part says something."""
    torch.manual_seed(0)
    transformer = new_transformer().eval()
    for parameter in transformer.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return transformer


@pytest.mark.parametrize("cells_yx", GRIDS)
@torch.no_grad()
def test_training_predicts_what_diffusers_does_with_77_zero_tokens(
    cells_yx: tuple[int, int], text: FrozenText
) -> None:
    batch, transformer = draw(cells_yx, text), perturbed()
    expected = transformer(
        hidden_states=batch.noised,
        encoder_hidden_states=F.pad(batch.context, (0, 0, 0, 76)),
        pooled_projections=batch.pooled,
        timestep=1000 * batch.sigma,
        return_dict=False,
    )[0]

    watch(transformer)
    predicted = batch.predict(transformer)

    torch.testing.assert_close(predicted, expected[batch.goes_on], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_watched_attention_is_the_joint_softmax_of_the_read_block(
    text: FrozenText,
) -> None:
    batch, transformer = draw((3, 5), text), perturbed()
    heard: list[tuple[Tensor, Tensor]] = []
    read = watch(transformer)
    block = transformer.transformer_blocks[READ_BLOCK]
    block.attn.register_forward_pre_hook(
        lambda _, __, given: heard.append(
            (given["hidden_states"], given["encoder_hidden_states"])
        ),
        with_kwargs=True,
    )

    batch.predict(transformer)
    attention = read.take()

    (picture, words), attn = heard[0], block.attn
    words = torch.cat([words, words[:, -1:].expand(-1, 76, -1)], dim=1)
    heads = [
        norm(layer(states).double().unflatten(2, (4, 32)).float())
        for norm, layer, states in (
            (attn.norm_q, attn.to_q, picture),
            (attn.norm_k, attn.to_k, picture),
            (attn.norm_added_k, attn.add_k_proj, words),
        )
    ]
    query, key = heads[0], torch.cat(heads[1:], dim=1)
    scores = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) / 32**0.5
    whole = scores.softmax(dim=-1).mean(dim=1)
    expected = torch.cat(
        [whole[..., : 15 + 77], whole[..., 15 + 77 :].sum(-1, keepdim=True)], dim=-1
    )
    torch.testing.assert_close(attention.double(), expected, atol=1e-5, rtol=1e-5)


def test_alignment_is_least_where_attention_goes_where_it_belongs(
    text: FrozenText,
) -> None:
    batch = draw((4, 4), text)
    named = batch.owners / batch.owners.sum(dim=2, keepdim=True).clamp(min=1)
    to_text = batch.segments.transpose(1, 2) @ named
    same = batch.segments.transpose(1, 2) @ batch.segments
    within = same / same.sum(dim=2, keepdim=True)
    absent = torch.zeros(4, 16, 1)
    right = torch.cat([within / 3, 2 / 3 * to_text, absent], dim=2)

    best = batch.alignment(right)
    elsewhere = batch.alignment(right.roll(5, dims=1))

    assert best[0] < elsewhere[0]
    assert best[1] < elsewhere[1]


def test_a_list_names_all_objects_where_its_spans_say() -> None:
    rng = random.Random(0)
    lengths = set()

    for _ in range(200):
        caption = draw_list(("dog", "tv"), rng)
        said = [caption.text[start:end] for _, start, end in sorted(caption.spans)]
        assert said == ["dog", "tv"]
        words = caption.text.replace(",", "").split()
        assert len(set(words)) == len(words)
        assert set(words) <= set(WORDS)
        lengths.add(len(words))

    assert min(lengths) == 2
    assert max(lengths) == 22


def test_a_run_that_was_interrupted_goes_on_from_its_checkpoint(
    text: FrozenText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [latents((2, 3)) for _ in SHAPES]
    checkpoint = tmp_path / "kept" / "checkpoint.pt"
    monkeypatch.setattr(mmdit, "_CHECKPOINT_EVERY", 2)
    train_mmdit(shapes, text, n_steps=2, seed=0, checkpoint=checkpoint)

    done = train_mmdit(shapes, text, n_steps=2, seed=1, checkpoint=checkpoint)

    kept = torch.load(checkpoint, weights_only=True)
    assert kept["step"] == 2
    average = Average(done)
    for mean, parameter in zip(
        average.state_dict()["mean"], done.parameters(), strict=True
    ):
        torch.testing.assert_close(mean, parameter)
    for mean, parameter in zip(kept["2"]["mean"], done.parameters(), strict=True):
        torch.testing.assert_close(mean, parameter)
