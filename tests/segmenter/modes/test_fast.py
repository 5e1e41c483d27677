"""Fast mode on random models: what one pass reads, and what it leaves out."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter import SegmenterOptions, UnsupportedModel
from segmenter.backbones.unet import UNetBackbone
from segmenter.modes.fast import Request
from segmenter.modes.maps import resize
from segmenter.predictor import Segmenter
from segmenter.presence import Captioner, ImageText
from tests.segmenter.asking import LABELS, calls_of, score_one
from tests.segmenter.modes.test_paper import min_max, watched_layers
from tests.segmenter.tiny_models import LATENT_SIDE, TEXT_WIDTH, make_parts

BARE = SegmenterOptions(presence="off", aspect="squash")
HALF = 6e-4


def plain_maps(
    parts: UNetBackbone, picture: NDArray[np.uint8], labels: tuple[str, ...]
) -> Tensor:
    """The recipe of fast mode, step by step, in float64, nothing saved."""
    side = 4 * LATENT_SIDE
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    squashed = F.interpolate(
        pixels, (side, side), mode="bilinear", align_corners=False, antialias=True
    )
    clean = parts.vae.encode(squashed * 2 - 1).latent_dist.mean
    noise = torch.randn(1, 4, LATENT_SIDE, LATENT_SIDE, generator=torch.manual_seed(0))
    latent = parts.scheduler.add_noise(
        clean * parts.vae.config.scaling_factor, noise, torch.tensor([100])
    )
    text = ", ".join(labels)
    encoded = parts.text.tokenizer(
        [text],
        padding="max_length",
        max_length=77,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    context = parts.text.encoder(encoded["input_ids"]).last_hidden_state
    cross: dict[tuple[int, int], list[Tensor]] = {}
    own: list[Tensor] = []
    grids = [(2, 2), (4, 4), (8, 8), (16, 16)]
    cross.update({grid: [] for grid in grids})
    with watched_layers(parts.unet, cross, own):
        parts.unet(latent, 100, context)
    rows = torch.zeros(len(labels) + 1, *latent.shape[2:], dtype=torch.float64)
    for grid, weight in zip(grids, (0.15, 0.7, 0.15), strict=False):
        attention = torch.cat(cross[grid]).mean(dim=0)  # (cells, tokens)
        for number in range(len(labels) + 1):
            tokens = [0]
            if number < len(labels):
                start = len(", ".join([*labels[:number], ""]))
                end = start + len(labels[number])
                tokens = [
                    place
                    for place, (first, last) in enumerate(encoded["offset_mapping"][0])
                    if first < end and last > start and last > first
                ]
            level = attention[:, tokens].mean(dim=1).view(1, 1, *grid)
            rows[number] += (
                weight
                * F.interpolate(
                    level, latent.shape[2:], mode="bilinear", align_corners=False
                )[0, 0]
            )
    shares = rows[:-1] / rows.sum(dim=0)
    # Of the layers at latent resolution the first is the encoder's.
    matrix = torch.stack(own[1:3]).flatten(0, 1).mean(dim=0)
    spread = (shares.flatten(1) @ matrix.T).view_as(shares)
    return torch.stack([min_max(one) for one in spread])


def test_maps_are_those_of_the_recipe_written_out(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    maps = score_one(Segmenter(parts, BARE), picture)

    expected = plain_maps(parts, picture, LABELS)

    np.testing.assert_allclose(maps, expected.numpy(), atol=HALF)


@pytest.mark.parametrize("n_labels", [1, 5, 60])
def test_one_pass_serves_any_number_of_labels(
    parts: UNetBackbone, picture: NDArray[np.uint8], n_labels: int
) -> None:
    segmenter = Segmenter(parts, BARE)
    labels = tuple(f"thing {number}" for number in range(n_labels))

    with calls_of(parts.unet) as passes, calls_of(parts.vae.encoder) as encodings:
        maps = score_one(segmenter, picture, labels)

    assert passes == [1]
    assert encodings == [1]
    assert maps.shape == (n_labels, LATENT_SIDE, LATENT_SIDE)
    assert (maps.max(axis=(1, 2)) == 1).all()


def test_labels_beyond_the_window_are_read_as_if_it_were_longer(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, BARE)
    few = tuple(f"thing {number}" for number in range(5))
    many = (*few, *(f"other {number}" for number in range(60)))

    alone, among = (
        score_one(segmenter, picture, few),
        score_one(segmenter, picture, many),
    )

    # One softmax over all chunks: the others take their share, and each has its own.
    assert not np.allclose(among[:5], alone, atol=HALF)
    assert len({one.tobytes() for one in among}) == len(many)


def test_the_unet_stops_behind_the_last_layer_that_is_read(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, BARE)

    with calls_of(parts.unet.conv_out) as fast_mode:
        score_one(segmenter, picture)
    with calls_of(parts.unet.conv_out) as whole:
        parts.unet(
            torch.zeros(1, 4, 16, 16), 100, encoder_hidden_states=torch.zeros(1, 3, 16)
        )

    assert fast_mode == []
    assert whole == [1]


def test_the_decoder_of_the_vae_is_never_run(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    with calls_of(parts.vae.decoder) as decodings:
        score_one(Segmenter(parts, BARE), picture)

    assert decodings == []


def test_a_label_set_is_encoded_and_projected_once(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, BARE)
    key = parts.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k

    with calls_of(parts.text.encoder) as first, calls_of(key) as first_keys:
        score_one(segmenter, picture)
    with calls_of(parts.text.encoder) as second, calls_of(key) as second_keys:
        score_one(segmenter, picture)
    with calls_of(parts.text.encoder) as other:
        score_one(segmenter, picture, LABELS[:2])

    assert (len(first), len(second), len(other)) == (1, 0, 1)
    # What is read is projected once; the U-Net itself and `capture` go on.
    assert len(first_keys) == len(second_keys) + 1


def test_images_share_passes_and_get_what_each_gets_alone(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    pictures = [picture, picture[::-1].copy(), picture[:, ::-1].copy(), picture[:20]]
    labels = [LABELS, ("dog",), LABELS, ("sofa", "cat")]
    segmenter = Segmenter(parts, replace(BARE, images_per_pass=3))

    with calls_of(parts.unet) as passes:
        together = segmenter.score(pictures, labels)

    assert passes == [3, 1]
    for one, own, found in zip(pictures, labels, together, strict=True):
        assert found.labels == own
        assert found.size_yx == one.shape[:2]
        np.testing.assert_allclose(
            found.maps, score_one(segmenter, one, own), atol=HALF
        )


def test_images_without_labels_are_answered_in_their_place(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    segmenter = Segmenter(parts, BARE)

    with calls_of(parts.unet) as passes:
        found = segmenter.score([picture] * 3, [(), ("cat",), ()])

    assert passes == [1, 1, 1]
    assert [one.maps.shape[0] for one in found] == [0, 1, 0]
    assert segmenter.score([], []) == []


def test_a_label_asked_for_twice_is_answered_twice(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    maps = score_one(Segmenter(parts, BARE), picture, ("cat", "dog", "cat"))

    np.testing.assert_array_equal(maps[0], maps[2])
    alone = score_one(Segmenter(parts, BARE), picture, ("cat", "dog"))
    np.testing.assert_array_equal(maps[:2], alone)


@pytest.mark.parametrize(
    "change",
    [
        {"timestep": 600},
        {"seed": 1},
        {"latent": "sample"},
        {"background_words": ("sky", "grass")},
        {"level_weights": (1.0, 0.0, 0.0, 0.0)},
        {"self_attention_products": 0},
        {"self_attention_products": 2},
        {"self_attention_layers": "all"},
        {"competition": False},
        {"separator": " "},
        {"stretched": False},
        {"start_token": False, "background_words": ("sky", "grass")},
        {"caption": True},
    ],
    ids=str,
)
def test_an_option_reaches_the_maps(
    parts: UNetBackbone,
    captioner: Captioner,
    picture: NDArray[np.uint8],
    change: dict[str, Any],
) -> None:
    default = score_one(Segmenter(parts, BARE), picture)

    other = score_one(
        Segmenter(parts, replace(BARE, **change), captioner=lambda: captioner), picture
    )

    assert other.shape != default.shape or not np.allclose(other, default, atol=HALF)


def test_maps_that_are_not_stretched_are_shares_of_each_cell(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    # Without refinement labels share out what the start token leaves.
    shares = replace(BARE, stretched=False, self_attention_products=0)

    maps = score_one(Segmenter(parts, shares), picture).astype(np.float32)

    total = maps.sum(axis=0)
    assert maps.min() > 0
    assert total.max() < 1
    stretched = score_one(Segmenter(parts, replace(shares, stretched=True)), picture)
    low, high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    expected = (maps - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_allclose(stretched, expected, atol=0.02)


def test_without_the_start_token_words_share_out_every_cell(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    options = replace(
        BARE,
        start_token=False,
        background_words=("sky",),
        stretched=False,
        self_attention_products=0,
    )
    segmenter = Segmenter(parts, options)

    one_and_sky = score_one(segmenter, picture, ("cat",)).astype(np.float32)
    with_start = score_one(
        Segmenter(parts, replace(options, start_token=True)), picture, ("cat",)
    )
    # "Sky" is a label here, and so no background word: the start token stays.
    both = score_one(segmenter, picture, ("cat", "sky")).astype(np.float32)
    alone = score_one(segmenter, picture, ("sky",)).astype(np.float32)

    wins = one_and_sky > 0.5
    assert wins.any()
    assert (one_and_sky[wins] > with_start[wins]).all()
    assert both.sum(axis=0).max() < 1
    assert alone.max() < 1


def test_the_aspect_is_kept_on_about_as_many_cells(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    wide = np.concatenate([picture] * 3, axis=1)

    maps = score_one(Segmenter(parts, replace(BARE, aspect="keep")), wide)

    assert maps.shape == (5, 8, 24)


def test_windows_read_a_large_image_in_parts_without_a_seam(
    parts: UNetBackbone,
) -> None:
    large = np.random.default_rng(0).integers(0, 255, (200, 320, 3), dtype=np.uint8)
    segmenter = Segmenter(parts, replace(BARE, max_windows=6, images_per_pass=4))

    with calls_of(parts.unet) as passes:
        maps = score_one(segmenter, large)

    # The windows, then the whole image.
    assert passes == [4, 2, 1]
    assert maps.shape[1] > LATENT_SIDE
    assert maps.shape[2] > maps.shape[1]
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), np.ones(5))


def test_the_whole_image_has_a_say_beside_its_windows(parts: UNetBackbone) -> None:
    # Two windows, each of which shows half of the picture alone.
    large = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    options = replace(BARE, max_windows=2)
    windowed = score_one(Segmenter(parts, options), large)
    whole = score_one(Segmenter(parts, BARE), large)

    fused = Segmenter(parts, options)
    reading = next(
        fused._prepare(options).fast.read([Request(image=large, labels=LABELS)])
    )

    assert reading.whole is not None
    alone = fused._prepare(options).fast.maps(
        replace(reading, whole=None), torch.ones(len(LABELS))
    )
    assert windowed.shape == alone.shape
    assert whole.shape != alone.shape
    assert not np.allclose(windowed, alone, atol=HALF)
    assert (reading.evidence >= reading.whole.evidence).all()
    assert (reading.evidence >= replace(reading, whole=None).evidence).all()


def test_windows_of_one_size_are_the_whole_image_s_pass(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    # Smaller than the model: more windows would only enlarge it.
    windowed = Segmenter(parts, replace(BARE, max_windows=6))

    np.testing.assert_array_equal(
        score_one(windowed, picture), score_one(Segmenter(parts, BARE), picture)
    )


def test_presence_is_a_probability_and_changes_no_map_without_competition(
    parts: UNetBackbone, image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    options = replace(BARE, presence="calibrated", competition=False)
    judged = Segmenter(parts, options, image_text=lambda: image_text)

    (found,) = judged.score([picture], [LABELS])

    assert found.presence.shape == (5,)
    assert ((found.presence >= 0) & (found.presence <= 1)).all()
    assert len(set(found.presence.tolist())) > 1
    plain = Segmenter(parts, replace(BARE, competition=False))
    np.testing.assert_array_equal(found.maps, score_one(plain, picture))


def test_a_label_that_is_not_there_leaves_the_cells_to_the_others(
    parts: UNetBackbone, image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    options = replace(BARE, presence="calibrated")
    judged = Segmenter(parts, options, image_text=lambda: image_text)

    (found,) = judged.score([picture], [LABELS])

    assert found.presence.min() < 0.9
    assert not np.allclose(
        found.maps, score_one(Segmenter(parts, BARE), picture), atol=HALF
    )


def test_other_options_are_had_by_call_and_load_what_they_need_when_used(
    parts: UNetBackbone, captioner: Captioner, picture: NDArray[np.uint8]
) -> None:
    loaded: list[str] = []

    def load() -> Captioner:
        loaded.append("captioner")
        return captioner

    segmenter = Segmenter(parts, BARE, captioner=load)
    fast = score_one(segmenter, picture)
    assert loaded == []

    options = SegmenterOptions(mode="paper", presence="off")
    (paper,) = segmenter.score([picture], [LABELS], options=options)
    segmenter.score([picture], [LABELS], options=options)

    assert loaded == ["captioner"]
    alone = Segmenter(
        parts,
        options,
        captioner=lambda: captioner,
    )
    np.testing.assert_array_equal(paper.maps, score_one(alone, picture))
    np.testing.assert_array_equal(score_one(segmenter, picture), fast)


def test_a_unet_that_attends_nowhere_is_refused_when_it_is_taken() -> None:
    parts = make_parts()
    unet = type(parts.unet)(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        mid_block_type=None,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    ).eval()

    with pytest.raises(UnsupportedModel, match="no cross-attention"):
        Segmenter(replace(parts, unet=unet), BARE)


def test_what_a_window_shows_counts_for_presence(
    parts: UNetBackbone, image_text: ImageText
) -> None:
    large = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    options = replace(BARE, presence="calibrated", max_windows=2)
    looked_at: list[int] = []
    handle = image_text.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: looked_at.append(
            len((*args, *kwargs.values())[0])
        ),
        with_kwargs=True,
    )
    try:
        for asked in (options, replace(options, max_windows=1)):
            judged = Segmenter(parts, asked, image_text=lambda: image_text)
            judged.score([large], [LABELS])
    finally:
        handle.remove()

    # Two squares of the oblong picture, and two windows.
    assert looked_at == [4, 2]


def test_presence_is_read_at_the_coarsest_level(
    parts: UNetBackbone, picture: NDArray[np.uint8]
) -> None:
    fast = Segmenter(parts, BARE)._prepare(BARE).fast

    (reading,) = fast.read([Request(image=picture, labels=LABELS)])

    coarsest = reading.windows[0].levels[0].maps
    assert coarsest.shape[1:] == (2, 2)
    rows = resize(coarsest, reading.layout.window_yx)
    shares = (rows / rows.sum(dim=0)).amax(dim=(1, 2))[: len(LABELS)]
    np.testing.assert_allclose(reading.evidence, shares.numpy(), rtol=1e-5)
