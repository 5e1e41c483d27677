import logging
from typing import Any

import pytest
import torch

from segmenter.backbones.unet import UNetBackbone
from segmenter.errors import BadLabel
from segmenter.pocket import WORDS
from segmenter.text.vocabulary import Vocabulary, build_vocabulary


@pytest.fixture(scope="module")
def tokenizer(parts: UNetBackbone) -> Any:
    return parts.text.tokenizer


def read_texts(tokenizer: Any, vocabulary: Vocabulary) -> list[str]:
    """What the tokens of each row spell."""
    ids = vocabulary.token_ids[vocabulary.kept]
    return [
        tokenizer.decode(ids[weights > 0]).replace(" ", "")
        for weights in vocabulary.read
    ]


def test_each_row_reads_its_own_word_and_the_last_the_start_token(
    tokenizer: Any,
) -> None:
    labels = ["cat", "traffic light", "猫", "a, b"]

    found = build_vocabulary(tokenizer, labels, background_words=["sky"])

    assert found.n_labels == 4
    assert len(found.token_ids) == 1
    *texts, start = read_texts(tokenizer, found)
    assert texts == ["cat", "trafficlight", "猫", "a,b", "sky"]
    assert start == tokenizer.bos_token
    torch.testing.assert_close(found.read.sum(dim=1), torch.ones(6))


def test_what_does_not_fit_goes_into_further_chunks_that_only_labels_are_read_of(
    tokenizer: Any,
) -> None:
    labels = [f"strange object number {number}" for number in range(40)]

    found = build_vocabulary(tokenizer, labels, background_words=["sky"])

    assert len(found.token_ids) > 2
    assert found.kept[0].all()
    assert not found.kept[1:].all(dim=1).any()
    texts = read_texts(tokenizer, found)
    assert texts[:40] == [label.replace(" ", "") for label in labels]
    assert texts[40] == "sky"
    # No token is read for two rows.
    assert ((found.read > 0).sum(dim=0) <= 1).all()


def test_words_with_a_space_between_take_no_tokens_for_it(tokenizer: Any) -> None:
    spaced = build_vocabulary(tokenizer, list(WORDS), separator=" ")
    listed = build_vocabulary(tokenizer, list(WORDS))

    texts = tokenizer.batch_decode(spaced.token_ids, skip_special_tokens=True)
    assert texts[0].split() == list(WORDS)
    assert "," not in texts[0]
    n_tokens = [
        int((found.token_ids[0] != tokenizer.pad_token_id).sum())
        for found in (spaced, listed)
    ]
    assert n_tokens[1] - n_tokens[0] == 23
    assert read_texts(tokenizer, spaced)[:-1] == list(WORDS)


def test_labels_are_packed_as_tightly_as_the_window_allows(tokenizer: Any) -> None:
    window = int(tokenizer.model_max_length)

    # Two tokens each, the comma included, beside start and end.
    fits = build_vocabulary(tokenizer, ["cat"] * ((window - 2) // 2))
    one_more = build_vocabulary(tokenizer, ["cat"] * ((window - 2) // 2 + 1))

    assert len(fits.token_ids) == 1
    assert len(one_more.token_ids) == 2


def test_a_background_word_that_is_a_label_is_left_out(tokenizer: Any) -> None:
    found = build_vocabulary(tokenizer, ["Sky"], background_words=["sky", "grass"])

    assert read_texts(tokenizer, found)[1:-1] == ["grass"]


def test_a_caption_precedes_the_first_chunk_and_leaves_room(tokenizer: Any) -> None:
    caption = "two birds on a wire " * 20

    found = build_vocabulary(tokenizer, ["cat", "dog"], caption=caption)

    text = tokenizer.decode(found.token_ids[0])
    assert text.startswith(f"{tokenizer.bos_token} two birds") or "two birds" in text
    assert read_texts(tokenizer, found)[:2] == ["cat", "dog"]
    assert len(found.token_ids) == 1


def test_a_label_longer_than_the_window_is_read_by_its_beginning(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = build_vocabulary(tokenizer, ["cat", "猫" * 100, "dog"])

    assert "does not fit" in caplog.text
    texts = read_texts(tokenizer, found)
    assert texts[0] == "cat"
    assert texts[2] == "dog"
    assert set(texts[1]) <= {"猫", "\N{REPLACEMENT CHARACTER}"}


def test_words_that_leave_no_room_for_labels_are_refused(tokenizer: Any) -> None:
    words = [f"word{number}" for number in range(60)]

    with pytest.raises(ValueError, match=r"60 background words take \d+ of the 75"):
        build_vocabulary(tokenizer, ["cat"], background_words=words)


def test_a_label_without_a_token_is_refused(tokenizer: Any) -> None:
    with pytest.raises(BadLabel):
        build_vocabulary(tokenizer, ["cat", " "])


def test_special_tokens_in_a_label_are_text(tokenizer: Any) -> None:
    found = build_vocabulary(tokenizer, ["<|endoftext|>", "dog"])

    assert read_texts(tokenizer, found)[1] == "dog"
    assert (found.read[0] > 0).sum() > 1
