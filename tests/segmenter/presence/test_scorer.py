from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from segmenter.presence import ImageText
from segmenter.presence.calibration import Calibration
from segmenter.presence.scorer import (
    PresenceScorer,
    competition_weights,
    embed_image,
    embed_texts,
    log_odds,
    square_parts,
)

LABELS = ("cat", "dog", "sofa", "traffic light")


def presence(
    image_text: ImageText,
    pixels: NDArray[np.uint8],
    labels: tuple[str, ...] = LABELS,
    *,
    caption: str = "",
    image_similarity: float = 1.0,
    text_similarity: float = 1.0,
) -> NDArray[np.float32]:
    judge = PresenceScorer(image_text, Calibration())
    return judge.by_paper(
        judge.look_at_whole(pixels).embeddings,
        labels,
        caption=caption,
        image_similarity=image_similarity,
        text_similarity=text_similarity,
    )


def margins(
    judge: PresenceScorer, pixels: NDArray[np.uint8], labels: Sequence[str]
) -> NDArray[np.float64]:
    return judge.margins(judge.look(pixels).embeddings, labels)


def towards_the_picture(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Each label's similarity to the picture as a share of the best one's."""
    similarity = embed_texts(image_text, LABELS) @ embed_image(image_text, picture)
    assert float(similarity.max()) > 0
    return (similarity / similarity.max()).clamp(0, 1).numpy()


def test_embeddings_are_those_of_clip_s_own_forward(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    found = embed_texts(image_text, LABELS) @ embed_image(image_text, picture)

    tokens = image_text.tokenizer(
        [f"a photo of a {label}" for label in LABELS], padding=True, return_tensors="pt"
    )
    image = image_text.image_processor(Image.fromarray(picture), return_tensors="pt")
    with torch.no_grad():
        output = image_text.model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=image["pixel_values"],
        )
    expected = output.logits_per_image[0] / image_text.model.logit_scale.exp()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_embeddings_have_unit_length(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    texts = embed_texts(image_text, ["cat", "猫", "x" * 300])

    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    assert float(embed_image(image_text, picture).norm()) == pytest.approx(1)


def test_the_best_label_by_image_is_always_kept(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    relative = towards_the_picture(image_text, picture)

    found = presence(image_text, picture)

    assert found.dtype == np.float32
    assert found[relative.argmax()] == 0.5
    assert (np.delete(found, relative.argmax()) < 0.5).all()


def test_labels_near_enough_to_the_best_are_kept(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    relative = np.sort(towards_the_picture(image_text, picture))
    between = float(relative[1] + relative[2]) / 2

    found = presence(image_text, picture, image_similarity=between)

    assert sorted(found >= 0.5) == [False, False, True, True]
    # The others say how much of the way to the limit they made.
    np.testing.assert_allclose(
        np.sort(found)[:2], relative[:2] / between / 2, rtol=1e-4, atol=1e-6
    )


def test_a_label_in_the_caption_is_kept_whatever_clip_thinks(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    best = towards_the_picture(image_text, picture).argmax()

    found = presence(image_text, picture, caption="Traffic LIGHT, and a sofa.")

    assert {LABELS[i] for i in np.flatnonzero(found >= 0.5)} == {
        "traffic light",
        "sofa",
        LABELS[best],
    }


@pytest.mark.parametrize("caption", ["catalogue of dogs", "light", "the traffic"])
def test_part_of_a_word_or_of_a_name_does_not_name_the_label(
    image_text: ImageText, picture: NDArray[np.uint8], caption: str
) -> None:
    best = towards_the_picture(image_text, picture).argmax()

    # Text similarity stays out of it: nothing but the same word reaches 1.
    found = presence(image_text, picture, caption=caption)

    assert np.flatnonzero(found >= 0.5).tolist() == [best]


def test_a_label_near_enough_to_a_word_of_the_caption_is_kept(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    best = towards_the_picture(image_text, picture).argmax()
    by_text = embed_texts(image_text, LABELS) @ embed_texts(image_text, ["horse"])[0]
    *_, second, nearest = by_text.argsort().tolist()
    assert nearest != best
    between = float(by_text[nearest] + by_text[second]) / 2

    found = presence(image_text, picture, caption="Horse.", text_similarity=between)

    assert set(np.flatnonzero(found >= 0.5)) == {best, nearest}


def test_an_empty_caption_leaves_the_verdict_to_the_picture(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    found = presence(image_text, picture, caption="", text_similarity=0.01)

    assert (found >= 0.5).sum() == 1


@pytest.mark.parametrize("label", ["🐈", "!!!", "—"])
def test_a_label_without_a_word_is_not_named_by_every_caption(
    image_text: ImageText, picture: NDArray[np.uint8], label: str
) -> None:
    labels = (*LABELS, label)
    similarity = embed_texts(image_text, labels) @ embed_image(image_text, picture)
    best = int(similarity.argmax())

    found = presence(image_text, picture, labels, caption="horse")

    assert np.flatnonzero(found >= 0.5).tolist() == [best]


def test_labels_count_by_their_probability_and_by_the_paper_s_verdict() -> None:
    presence = np.array([0.2, 0.49, 0.5, 1.0], np.float32)

    for by_probability in ("calibrated", "off"):
        found = competition_weights(presence, by_probability)
        np.testing.assert_array_equal(found, presence)
    np.testing.assert_array_equal(competition_weights(presence, "paper"), [0, 0, 1, 1])


WITHOUT_NEGATIVES = Calibration(negatives=(), by_text=(1.0, 2.0))


@pytest.fixture
def square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What an image-text model looks at whole."""
    return np.ascontiguousarray(picture[:, :48])


def test_margins_count_from_the_best_label_in_nats_of_the_model(
    image_text: ImageText, square: NDArray[np.uint8]
) -> None:
    similarity = embed_texts(image_text, LABELS) @ embed_image(image_text, square)
    logits = similarity.double() * float(image_text.model.logit_scale.exp())

    found = margins(PresenceScorer(image_text, WITHOUT_NEGATIVES), square, LABELS)

    np.testing.assert_allclose(found, (logits - logits.max()).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("size_yx", "count", "side"),
    [
        ((50, 50), 1, None),
        ((50, 62), 1, None),
        ((50, 80), 2, 50),
        ((150, 50), 3, 50),
        ((20, 101), 6, 20),
        ((2, 900), 8, 2),
    ],
)
def test_an_oblong_picture_is_looked_at_in_squares_from_end_to_end(
    size_yx: tuple[int, int], count: int, side: int | None
) -> None:
    pixels = np.arange(np.prod(size_yx) * 3).reshape(*size_yx, 3).astype(np.uint8)

    parts = square_parts(pixels)

    assert len(parts) == count
    if side is None:
        assert parts[0] is pixels
        return
    assert all(part.shape == (side, side, 3) for part in parts)
    np.testing.assert_array_equal(parts[0], pixels[:side, :side])
    np.testing.assert_array_equal(parts[-1], pixels[-side:, -side:])


def test_a_label_is_judged_where_it_is_nearest(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    judge = PresenceScorer(image_text, replace(WITHOUT_NEGATIVES, negatives=("tree",)))
    left, right = picture[:, :48], picture[:, 24:]

    whole = margins(judge, picture, LABELS)

    by_part = [margins(judge, part, LABELS) for part in (left, right)]
    np.testing.assert_allclose(whole, np.maximum(*by_part), atol=1e-4)
    assert not np.allclose(*by_part)


def test_a_negative_that_fits_better_puts_all_labels_behind_it(
    image_text: ImageText, square: NDArray[np.uint8]
) -> None:
    words = ("cat", "dog", "sofa", "horse", "tree", "house")
    similarity = embed_texts(image_text, words) @ embed_image(image_text, square)
    *others, best = (words[i] for i in similarity.argsort())
    calibration = replace(WITHOUT_NEGATIVES, negatives=(best,))

    found = margins(PresenceScorer(image_text, calibration), square, others)

    assert (found < 0).all()
    alone = margins(PresenceScorer(image_text, WITHOUT_NEGATIVES), square, others)
    assert alone.max() == 0


def test_a_negative_that_is_the_label_itself_says_nothing_against_it(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    calibration = replace(WITHOUT_NEGATIVES, negatives=("cat",))

    found = margins(PresenceScorer(image_text, calibration), picture, ["cat"])

    np.testing.assert_array_equal(found, [0])


def test_by_calibration_is_the_logistic_of_its_evidence(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    evidence = np.array([0.9, 0.5, 0.1, 0.0], np.float32)
    calibration = replace(WITHOUT_NEGATIVES, by_text_and_maps=(0.5, 2.0, 3.0))
    judge = PresenceScorer(image_text, calibration)
    seen = judge.look(picture).embeddings
    behind = judge.margins(seen, LABELS)

    by_text = judge.by_calibration(seen, LABELS)
    by_both = judge.by_calibration(seen, LABELS, evidence=evidence)

    np.testing.assert_allclose(by_text, 1 / (1 + np.exp(-1 - 2 * behind)), rtol=1e-5)
    logits = 0.5 + 2 * behind + 3 * log_odds(evidence)
    np.testing.assert_allclose(by_both, 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_maps_that_were_not_calibrated_say_nothing(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    judge = PresenceScorer(image_text, WITHOUT_NEGATIVES)
    seen = judge.look(picture).embeddings

    found = judge.by_calibration(seen, LABELS, evidence=np.ones(4, np.float32))

    np.testing.assert_array_equal(found, judge.by_calibration(seen, LABELS))


def test_a_text_is_encoded_once(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    judge = PresenceScorer(image_text, Calibration())
    seen = judge.look(picture).embeddings
    texts: list[int] = []
    handle = image_text.model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: texts.append(len(kwargs["input_ids"])),
        with_kwargs=True,
    )
    try:
        judge.by_calibration(seen, ["cat", "zeppelin"])
        judge.by_calibration(seen, ["zeppelin", "anvil"])
    finally:
        handle.remove()

    # Labels first, all negatives once, then the one word that is new.
    assert texts[-1] == 1
    assert sum(texts) <= 2 + len(Calibration().negatives) + 1
