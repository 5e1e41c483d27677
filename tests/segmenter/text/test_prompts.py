import logging
import unicodedata
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segmenter.backbones.unet import UNetBackbone
from segmenter.errors import BadLabel
from segmenter.pocket.train.text import build_tokenizer
from segmenter.pocket.words import WORDS
from segmenter.text.prompts import (
    EncodedPrompts,
    Prompt,
    build_prompt,
    check_label,
    embed_prompts,
    encode_prompts,
)

TEMPLATE = "a photograph of {label}"
TOKENIZER = build_tokenizer()


def prompt_for(
    label: str,
    *,
    template: str = TEMPLATE,
    caption: str | None = None,
    read_participle: bool = True,
) -> Prompt:
    return build_prompt(
        label, template=template, caption=caption, read_participle=read_participle
    )


def encode(*prompts: Prompt) -> EncodedPrompts:
    return encode_prompts(TOKENIZER, prompts)


def places(mask: Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()


def pieces_of(encoded: EncodedPrompts) -> list[str]:
    tokens = TOKENIZER.convert_ids_to_tokens(encoded.token_ids[0])
    return [tokens[place] for place in places(encoded.emphasised[0])]


@pytest.mark.parametrize("label", ["", " ", "\t\n", "\u00a0\u3000", "\x00", "\x1b\x07"])
def test_check_label_refuses_a_label_without_a_readable_character(label: str) -> None:
    with pytest.raises(BadLabel) as caught:
        check_label(label)

    assert caught.value.label == label
    assert repr(label) in str(caught.value)


@pytest.mark.parametrize("label", ["\ud83d", "cat \udc08"])
def test_check_label_refuses_half_a_surrogate_pair(label: str) -> None:
    # JSON may carry one ("\ud83d" alone); no tokenizer can encode it.
    with pytest.raises(BadLabel):
        check_label(label)


@pytest.mark.parametrize(
    "label", ["0", "猫", "🐈", "é", " cat ", "\x00cat", "-", "x" * 300]
)
def test_check_label_lets_anything_readable_pass(label: str) -> None:
    check_label(label)


def test_build_prompt_puts_label_and_caption_behind_the_template() -> None:
    prompt = prompt_for("dog", caption=" and cat ")

    assert prompt.text == "a photograph of dog and cat"
    assert prompt.text[slice(*prompt.label_span)] == "dog"


@pytest.mark.parametrize("caption", [None, "", "  "])
def test_build_prompt_without_a_caption_ends_with_the_template(
    caption: str | None,
) -> None:
    prompt = prompt_for("dog", template="the {label} on grass", caption=caption)

    assert prompt.text == "the dog on grass"
    assert prompt.label_span == (4, 7)


@pytest.mark.parametrize("label", ["{}", "{label}", "{0}", "{", "}}", "%s", "\\1"])
def test_build_prompt_takes_a_label_with_braces_literally(label: str) -> None:
    prompt = prompt_for(label, template="a {nice} photo of {label}, {}")

    assert prompt.text == f"a {{nice}} photo of {label}, {{}}"
    assert prompt.text[slice(*prompt.label_span)] == label


@pytest.mark.parametrize(
    ("caption", "word"),
    [
        pytest.param("running on grass", "running", id="next-word"),
        pytest.param("Running", "Running", id="capital"),
        pytest.param("running, jumping", "running", id="comma-behind"),
        pytest.param("and cat running", None, id="later-word"),
        pytest.param("parked", None, id="other-ending"),
        pytest.param("ingot", None, id="ing-in-front"),
        pytest.param("runnings", None, id="ing-inside"),
        pytest.param(", running", None, id="comma-between"),
        pytest.param(None, None, id="no-caption"),
    ],
)
def test_build_prompt_finds_the_participle_right_behind_the_label(
    caption: str | None, word: str | None
) -> None:
    prompt = prompt_for("dog", caption=caption)

    span = prompt.participle_span
    assert (None if span is None else prompt.text[slice(*span)]) == word


def test_build_prompt_ignores_the_participle_when_told_to() -> None:
    assert prompt_for("dog", caption="running", read_participle=False) == Prompt(
        text="a photograph of dog running", label_span=(16, 19)
    )


def test_build_prompt_does_not_take_the_label_itself_for_a_participle() -> None:
    assert prompt_for("building").participle_span is None


@pytest.mark.parametrize(
    ("label", "pieces"),
    [
        pytest.param("cat", ["cat</w>"], id="one-piece"),
        pytest.param("Cat", ["cat</w>"], id="capital"),
        pytest.param("zebra", ["z", "e", "b", "r", "a</w>"], id="many-pieces"),
        pytest.param("cat train", ["cat</w>", "train</w>"], id="two-words"),
        pytest.param("cat   dog", ["cat</w>", "dog</w>"], id="wide-gap"),
        pytest.param("cat's", ["cat</w>", "'", "s</w>"], id="apostrophe"),
        pytest.param("猫", ["ç", "Į", "«</w>"], id="chinese"),
        pytest.param("🐈", ["ð", "Ł", "Ĳ", "Ī</w>"], id="emoji"),
        pytest.param("né", ["n", "Ã", "©</w>"], id="accent-composed"),
        pytest.param(
            unicodedata.normalize("NFD", "né"),
            ["n", "Ã", "©</w>"],
            id="accent-decomposed",
        ),
        pytest.param("  cat  ", ["cat</w>"], id="spaces-around"),
        pytest.param("\tcat\n", ["cat</w>"], id="tab-and-newline"),
        pytest.param("{}", ["{", "}</w>"], id="braces"),
        pytest.param("photograph", ["photograph</w>"], id="word-of-the-template"),
    ],
)
def test_encode_marks_exactly_the_label_and_warns_of_nothing(
    label: str, pieces: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    encoded = encode(prompt_for(label, caption="and bird"))

    assert pieces_of(encoded) == pieces
    assert places(encoded.emphasised[0]) == list(range(4, 4 + len(pieces)))
    torch.testing.assert_close(
        encoded.read[0], encoded.emphasised[0].float() / len(pieces)
    )
    assert caplog.messages == []


def test_encode_reads_the_template_s_label_only_where_it_occurs_again() -> None:
    encoded = encode(
        prompt_for("cat", template="cat and {label}", caption="with cat on cat")
    )

    assert places(encoded.emphasised[0]) == [3]
    assert places(encoded.read[0]) == [3]


def test_encode_shifts_with_the_template() -> None:
    long, short = prompt_for("cat"), prompt_for("cat", template="{label}")

    encoded = encode(long, short)

    assert [places(row) for row in encoded.emphasised] == [[4], [1]]


def test_encode_leaves_out_what_touches_the_label() -> None:
    encoded = encode(prompt_for("cat", template="a ({label}), on grass"))

    assert pieces_of(encoded) == ["cat</w>"]


def test_encode_pads_every_prompt_to_the_window() -> None:
    encoded = encode(prompt_for("cat"), prompt_for("a very long name"))

    assert encoded.token_ids.shape == (2, 77)
    assert encoded.token_ids.dtype == torch.int64
    assert encoded.emphasised.dtype == torch.bool
    assert encoded.read.dtype == torch.float32


def test_encode_reads_label_and_participle_by_halves() -> None:
    encoded = encode(prompt_for("cat", caption="running"))

    # "running" is not among the pocket words: r u n n i n g.
    expected = torch.zeros(77)
    expected[4] = 1 / 2
    expected[5:12] = 1 / 14
    torch.testing.assert_close(encoded.read[0], expected)
    assert places(encoded.emphasised[0]) == [4]


def test_encode_leaves_the_participle_when_told_to() -> None:
    encoded = encode(prompt_for("cat", caption="running", read_participle=False))

    assert places(encoded.read[0]) == [4]


def test_encode_reads_the_label_alone_where_the_participle_is_cut_off() -> None:
    label = "x" * 72

    encoded = encode(prompt_for(label, caption="running"))

    torch.testing.assert_close(encoded.read[0].sum(), torch.tensor(1.0))
    assert torch.equal(encoded.read[0] > 0, encoded.emphasised[0])


def test_encode_reads_the_beginning_of_a_label_of_300_characters_and_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        encoded = encode(prompt_for("x" * 300), prompt_for("cat"))

    # 77 less the two ends and the three words of the template.
    assert places(encoded.emphasised[0]) == list(range(4, 76))
    torch.testing.assert_close(encoded.read.sum(dim=1), torch.ones(2))
    (message,) = caplog.messages
    assert "300 characters" in message
    assert "77 tokens" in message
    assert "72 tokens" in message


def test_encode_does_not_warn_of_a_caption_that_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoded = encode(prompt_for("cat", caption="and dog " * 100))

    assert places(encoded.emphasised[0]) == [4]
    assert caplog.messages == []


def test_encode_refuses_a_label_that_the_template_pushes_out_of_the_window() -> None:
    prompt = prompt_for("cat", template="and " * 90 + "{label}")

    with pytest.raises(BadLabel, match="cat"):
        encode(prompt)


@pytest.mark.parametrize(
    "label", ["<|endoftext|>", "<|startoftext|>", "cat <|endoftext|> dog"]
)
def test_encode_reads_the_name_of_a_special_token_as_text(label: str) -> None:
    encoded = encode(prompt_for(label))

    special = {TOKENIZER.bos_token_id, TOKENIZER.eos_token_id}
    on_label = encoded.token_ids[0, encoded.emphasised[0]].tolist()
    assert special.isdisjoint(on_label)


@settings(max_examples=150, deadline=None)
@given(label=st.text(max_size=40), caption=st.text(max_size=20))
@example(label="\u0301", caption="")
@example(label="ing", caption="ing")
@example(label="İ", caption="ﬁsh")
def test_any_label_is_refused_or_read_by_weights_that_sum_to_one(
    label: str, caption: str
) -> None:
    try:
        check_label(label)
    except BadLabel:
        return

    encoded = encode(prompt_for(label, caption=caption))

    torch.testing.assert_close(encoded.read.sum(), torch.tensor(1.0))
    assert encoded.emphasised.any()
    # Neither end of the text belongs to a label.
    assert not encoded.emphasised[0, 0]
    assert not encoded.emphasised[0, -1]


def test_every_pocket_word_is_one_token() -> None:
    encoded = encode(*map(prompt_for, WORDS))

    assert torch.equal(encoded.emphasised.sum(dim=1), torch.ones(len(WORDS)).long())


def hidden_states(parts: UNetBackbone, texts: list[str]) -> Tensor:
    tokens: Any = parts.text.tokenizer(
        texts, padding="max_length", max_length=77, return_tensors="pt"
    )
    with torch.no_grad():
        return parts.text.encoder(tokens["input_ids"]).last_hidden_state


def test_embed_moves_only_the_label_away_from_the_empty_prompt(
    parts: UNetBackbone,
) -> None:
    prompts = [prompt_for("cat", caption="running"), prompt_for("zebra")]
    encoded = encode(*prompts)

    found = embed_prompts(parts.text, encoded, emphasis=1.21).context

    plain = hidden_states(parts, [prompt.text for prompt in prompts])
    empty = hidden_states(parts, [""])
    expected = plain.clone()
    expected[0, 4] = empty[0, 4] + 1.21 * (plain[0, 4] - empty[0, 4])
    expected[1, 4:9] = empty[0, 4:9] + 1.21 * (plain[1, 4:9] - empty[0, 4:9])
    torch.testing.assert_close(found, expected)
    outside = ~encoded.emphasised
    assert torch.equal(found[outside], plain[outside])
    assert not torch.allclose(found[0, 4], plain[0, 4])


def test_embed_without_emphasis_is_the_text_encoder_s_own_word(
    parts: UNetBackbone,
) -> None:
    encoded = encode(prompt_for("cat"))

    found = embed_prompts(parts.text, encoded, emphasis=1.0).context

    assert torch.equal(found, hidden_states(parts, ["a photograph of cat"]))
