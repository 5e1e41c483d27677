"""Other labels in a picture that was encoded before: the same to the bit, for less."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmenter import ImageEncoding, ScoreMaps, SegmenterOptions
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from segmenter.presence import ImageText
from tests.segmenter.asking import LABELS, calls_of
from tests.segmenter.tiny_models import make_parts

OTHER = ("horse", "tree")
PAPER = SegmenterOptions(mode="paper", caption=False)


@pytest.fixture
def large() -> NDArray[np.uint8]:
    """Larger than a window, and oblong: uint8 (90, 200, 3)."""
    return np.random.default_rng(1).integers(0, 256, (90, 200, 3), dtype=np.uint8)


def score(
    segmenter: Segmenter,
    picture: NDArray[np.uint8],
    labels: tuple[str, ...],
    known: ImageEncoding | None = None,
) -> ScoreMaps:
    (found,) = segmenter.score([picture], [labels], encodings=[known])
    return found


def assert_same(found: ScoreMaps, expected: ScoreMaps) -> None:
    """To the bit, whatever else a pass tells among it."""
    assert found.labels == expected.labels
    for name in ("maps", "presence", "features", "layers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.encoding is not None
    assert expected.encoding is not None
    for field in fields(ImageEncoding):
        np.testing.assert_equal(
            getattr(found.encoding, field.name), getattr(expected.encoding, field.name)
        )


@pytest.mark.parametrize("labels", [LABELS, ()], ids=["labels", "no-labels"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SegmenterOptions(), id="fast"),
        pytest.param(SegmenterOptions(presence="off"), id="no-presence"),
        pytest.param(SegmenterOptions(max_windows=3), id="windows"),
        pytest.param(SegmenterOptions(latent="sample", seed=3), id="sampled"),
        pytest.param(PAPER, id="paper"),
        pytest.param(replace(PAPER, presence="calibrated"), id="paper-presence"),
        pytest.param(replace(PAPER, max_windows=2), id="paper-windows"),
        pytest.param(replace(PAPER, as_published=True), id="as-published"),
    ],
)
def test_a_known_picture_is_not_encoded_again_and_its_maps_are_the_same(
    options: SegmenterOptions,
    labels: tuple[str, ...],
    parts: UNetBackbone,
    image_text: ImageText,
    large: NDArray[np.uint8],
) -> None:
    known = score(
        Segmenter(parts, options, image_text=lambda: image_text), large, OTHER
    ).encoding
    assert known is not None
    segmenter = Segmenter(parts, options, image_text=lambda: image_text)

    with (
        calls_of(parts.vae.encoder) as encoded,
        calls_of(image_text.model.vision_model) as looks,
    ):
        found = score(segmenter, large, labels, known)
        n_encoded, n_looks = len(encoded), len(looks)
        fresh = score(segmenter, large, labels)

    assert n_looks == 0
    # Paper mode reads a picture without labels as a whole, which is not known then.
    is_whole = labels or options.mode == "fast" or options.max_windows == 1
    assert n_encoded == (0 if is_whole else 1)
    assert len(encoded) > n_encoded
    np.testing.assert_array_equal(found.maps, fresh.maps)
    np.testing.assert_array_equal(found.layers, fresh.layers)
    assert all(one.flags.c_contiguous for one in known.latents)
    if labels:
        assert_same(found, fresh)


def test_half_precision_is_kept_to_the_bit(large: NDArray[np.uint8]) -> None:
    parts = make_parts()
    for model in (parts.vae, parts.unet, *parts.text.models):
        model.to(torch.bfloat16)
    segmenter = Segmenter(parts, SegmenterOptions(presence="off"))
    known = score(segmenter, large, OTHER).encoding

    found, fresh = (
        score(segmenter, large, LABELS, known),
        score(segmenter, large, LABELS),
    )

    assert known is not None
    assert known.latents[0].dtype == np.float32
    assert_same(found, fresh)


def test_known_and_new_pictures_share_a_call(
    parts: UNetBackbone, large: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, SegmenterOptions(presence="off", images_per_pass=3))
    pictures = [large, large[:, ::-1].copy(), large[::-1].copy()]
    known = score(segmenter, pictures[1], OTHER).encoding

    with calls_of(parts.vae.encoder) as encoded:
        found = segmenter.score(pictures, [LABELS] * 3, encodings=[None, known, None])

    assert encoded == [2]
    for one, picture in zip(found, pictures, strict=True):
        alone = score(segmenter, picture, LABELS)
        np.testing.assert_allclose(
            one.maps.astype(np.float32), alone.maps.astype(np.float32), atol=2e-3
        )


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(ImageEncoding(latents=()), id="empty"),
        pytest.param(
            ImageEncoding(
                latents=(np.zeros((1, 4, 3, 5), np.float32),),
                embeddings=np.zeros((0, 16), np.float32),
                patches=np.zeros((512, 1, 1), np.float16),
            ),
            id="other-size",
        ),
        pytest.param(
            ImageEncoding(
                latents=(np.zeros((2, 2), np.float32),),
                embeddings=np.ones((1, 3), np.float32),
            ),
            id="other-axes",
        ),
    ],
)
def test_what_is_of_another_shape_is_made_anew(
    foreign: ImageEncoding,
    parts: UNetBackbone,
    image_text: ImageText,
    large: NDArray[np.uint8],
) -> None:
    segmenter = Segmenter(parts, SegmenterOptions(), image_text=lambda: image_text)

    assert_same(
        score(segmenter, large, LABELS, foreign), score(segmenter, large, LABELS)
    )


def test_encodings_of_another_number_than_images_are_refused(
    parts: UNetBackbone, large: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, SegmenterOptions(presence="off"))

    with pytest.raises(ValueError, match="zip"):
        segmenter.score([large], [LABELS], encodings=[None, None])


def test_what_changes_an_encoding_changes_its_fingerprint_and_nothing_else_does() -> (
    None
):
    options = SegmenterOptions()
    same = [
        replace(options, threshold=0.2),
        replace(options, timestep=50),
        replace(options, seed=1),
        replace(options, background_words=("sky",)),
    ]
    others = [
        replace(options, aspect="squash"),
        replace(options, max_windows=2),
        replace(options, presence="off"),
        replace(options, latent="sample"),
        replace(options, latent="sample", seed=1),
    ]

    assert {one.encoding_fingerprint() for one in same} == {
        options.encoding_fingerprint()
    }
    assert len({one.encoding_fingerprint() for one in [options, *others]}) == 6
