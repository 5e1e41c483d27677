import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from segmenter.presence import Captioner
from segmenter.presence.captions import continue_texts

PREFIXES = [
    "a photograph of cat",
    "",
    "a photograph of sofa",
    "a photograph of 猫",
    "a photograph of traffic light",
]


def as_transformers_says(
    captioner: Captioner, pixels: NDArray[np.uint8], prefix: str
) -> str:
    """One continuation by BLIP's own `generate`, image and all."""
    image = captioner.image_processor(Image.fromarray(pixels), return_tensors="pt")
    ids = captioner.tokenizer(prefix, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        # It replaces [CLS] by its own beginning and drops [SEP].
        tokens = captioner.model.generate(
            pixel_values=image["pixel_values"],
            input_ids=ids,
            max_new_tokens=20,
            do_sample=False,
        )
    continuation = tokens[0, ids.shape[1] - 1 :]
    return captioner.tokenizer.decode(continuation, skip_special_tokens=True).strip()


def test_continuations_are_those_of_blip_s_own_generate(
    captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    found = continue_texts(captioner, picture, PREFIXES)

    assert found == [
        as_transformers_says(captioner, picture, prefix) for prefix in PREFIXES
    ]
    assert len(set(found)) > 1


def test_continuations_come_in_the_order_of_their_prefixes(
    captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    together = continue_texts(captioner, picture, PREFIXES)

    alone = [continue_texts(captioner, picture, [prefix])[0] for prefix in PREFIXES]
    assert together == alone


def test_continuations_differ_from_picture_to_picture(
    captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    other = np.full((48, 48, 3), 255, np.uint8)

    assert continue_texts(captioner, picture, PREFIXES) != continue_texts(
        captioner, other, PREFIXES
    )


def test_no_prefix_gives_no_continuation(
    captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    assert continue_texts(captioner, picture, []) == []


@pytest.mark.parametrize("prefix", ["x" * 300, "cat " * 300])
def test_a_prefix_longer_than_the_captioner_s_window_is_cut(
    captioner: Captioner, picture: NDArray[np.uint8], prefix: str
) -> None:
    (found,) = continue_texts(captioner, picture, [prefix])

    assert isinstance(found, str)


def test_a_captioner_that_stops_at_once_continues_with_nothing(
    captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    bias = captioner.model.text_decoder.cls.predictions.bias
    end = captioner.model.config.text_config.sep_token_id
    before = bias[end].clone()
    bias[end] += 1000
    try:
        found = continue_texts(captioner, picture, ["a photograph of cat"])
    finally:
        bias[end] = before

    assert found == [""]


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 40), (200, 3)])
def test_pictures_of_any_shape_are_captioned(
    captioner: Captioner, size_yx: tuple[int, int]
) -> None:
    pixels = np.zeros((*size_yx, 3), np.uint8)

    assert len(continue_texts(captioner, pixels, ["a photograph of cat"])) == 1
