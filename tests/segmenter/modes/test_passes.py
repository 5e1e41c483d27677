from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter import SegmenterOptions
from segmenter.backbones import AttentionReader, Geometry, Sample, SampleReading
from segmenter.backbones.unet import UNetBackbone
from segmenter.modes.passes import Passes, draw_noise, to_model_input
from segmenter.options import Aspect, LatentKind
from segmenter.predictor import Segmenter
from segmenter.types import ImageEncoding
from tests.segmenter.asking import score_one


def test_to_model_input_enlarges_as_published(picture: NDArray[np.uint8]) -> None:
    found = to_model_input(picture, size_yx=(100, 100))

    plain = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    expected = F.interpolate(plain, (100, 100), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected[0] * 2 - 1, rtol=0, atol=1e-5)


def test_to_model_input_keeps_rows_columns_and_channels_apart() -> None:
    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:3, :, 0] = 255
    pixels[:, 5:, 2] = 255

    found = to_model_input(pixels, size_yx=(32, 32))

    assert found.dtype == torch.float32
    assert found.shape == (3, 32, 32)
    assert (found[0, :10] > 0.9).all()
    assert (found[0, 22:] < -0.9).all()
    assert (found[2, :, 22:] > 0.9).all()
    assert (found[1] == -1).all()


def test_to_model_input_averages_over_all_pixels_when_it_shrinks() -> None:
    # One white row in four, where plain bilinear sampling never looks.
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[::4] = 255

    found = to_model_input(pixels, size_yx=(16, 16))

    inner = found[:, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, -0.5), rtol=0, atol=0.15)


def test_as_published_an_image_is_shrunk_by_its_nearest_pixels(
    parts: UNetBackbone,
) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, 1::4] = stripes[:, 2::4] = 255  # what bilinear sampling meets
    ours, published = (
        Passes(parts, SegmenterOptions(mode="paper", as_published=as_published))
        for as_published in (False, True)
    )

    averaged, sampled = (
        passes.cut(stripes, passes.lay_out((256, 256))) for passes in (ours, published)
    )

    assert averaged.shape == sampled.shape == (1, 3, 64, 64)
    torch.testing.assert_close(sampled, torch.ones_like(sampled))
    assert averaged[..., 4:-4].mean().abs() < 0.2


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 300), (300, 1)])
def test_to_model_input_takes_the_narrowest_images(size_yx: tuple[int, int]) -> None:
    found = to_model_input(np.full((*size_yx, 3), 255, np.uint8), size_yx=(8, 8))

    torch.testing.assert_close(found, torch.ones(3, 8, 8))


def test_to_model_input_takes_an_image_that_cannot_be_written_to(
    picture: NDArray[np.uint8],
) -> None:
    picture.setflags(write=False)

    assert to_model_input(picture, size_yx=(8, 8)).shape == (3, 8, 8)


class Recorder:
    """A backbone and its reader: notes what it is given, knows no model."""

    text: Any = None
    map_cell = 2

    def __init__(self, geometry: Geometry, device: str = "cpu") -> None:
        self.geometry = geometry
        self.device = torch.device(device)
        self.jitters: list[Tensor | None] = []

    def reader(self, options: SegmenterOptions) -> AttentionReader:
        return self

    def encode(self, pixels: Tensor, *, jitter: Tensor | None) -> Tensor:
        self.jitters.append(jitter)
        return F.avg_pool2d(pixels, self.geometry.cell_px).repeat(1, 2, 1, 1)[:, :4]

    def add_noise(self, latents: Tensor, noise: Tensor) -> Tensor:
        return latents + noise

    def read(self, samples: Sequence[Sample]) -> list[SampleReading]:
        raise NotImplementedError


SD15 = Geometry(cell_px=8, block_cells=8, side_cells=64, latent_channels=4)
POCKET = Geometry(cell_px=4, block_cells=4, side_cells=32, latent_channels=4)


@pytest.mark.parametrize(
    ("geometry", "device", "given", "expected"),
    [
        (SD15, "cpu", None, 1),
        (SD15, "cuda", None, 8),
        (POCKET, "cpu", None, 4),
        (POCKET, "cuda", None, 32),
        # More cells than Stable Diffusion 1.5 has: one at a time all the same.
        (replace(SD15, side_cells=128), "cpu", None, 1),
        (SD15, "cuda", 3, 3),
    ],
)
def test_a_pass_holds_as_many_cells_as_its_device_gains_from(
    geometry: Geometry, device: str, given: int | None, expected: int
) -> None:
    passes = Passes(Recorder(geometry, device), SegmenterOptions(images_per_pass=given))

    assert passes.max_batch == expected


def test_windows_are_whole_blocks_about_as_large_as_the_trained_square() -> None:
    passes = Passes(Recorder(SD15), SegmenterOptions())

    layout = passes.lay_out((400, 1000))

    assert layout.canvas_yx == layout.window_yx == (40, 104)
    assert passes.lay_out((512, 512)).canvas_yx == (64, 64)
    squashed = Passes(Recorder(SD15), SegmenterOptions(aspect="squash"))
    assert squashed.lay_out((400, 1000)).canvas_yx == (64, 64)


@pytest.mark.parametrize("aspect", get_args(Aspect))
def test_a_model_trained_on_less_than_a_block_is_read_in_one(aspect: Aspect) -> None:
    tiny = Recorder(replace(SD15, side_cells=4))

    layout = Passes(tiny, SegmenterOptions(aspect=aspect)).lay_out((30, 30))

    assert layout.canvas_yx == layout.window_yx == (8, 8)


def test_an_image_in_several_windows_is_read_as_a_whole_as_well() -> None:
    passes = Passes(Recorder(SD15), SegmenterOptions(max_windows=4))

    windows, whole = passes.views((1024, 1024))

    assert len(windows.origins_yx) == 4
    assert len(whole.origins_yx) == 1
    assert passes.views((300, 300)) == [passes.lay_out((300, 300))]


def test_maps_are_as_coarse_as_the_reader_says() -> None:
    passes = Passes(Recorder(SD15), SegmenterOptions(max_windows=4))
    cells = passes.lay_out((1024, 700))

    assert passes.map_layout(cells) == cells.divided(2)


def test_each_window_is_cut_from_the_canvas_where_it_lies() -> None:
    passes = Passes(Recorder(POCKET), SegmenterOptions(max_windows=2))
    image = np.zeros((128, 256, 3), np.uint8)
    image[:, :, 0] = np.linspace(0, 255, 256)
    cells = passes.lay_out((128, 256))

    pixels = passes.cut(image, cells)

    assert pixels.shape == (2, 3, *(4 * side for side in cells.window_yx))
    canvas = to_model_input(image, size_yx=cells.scaled(4).canvas_yx)
    assert torch.equal(pixels[0], canvas[:, :, : pixels.shape[3]])
    assert torch.equal(pixels[1], canvas[:, :, -pixels.shape[3] :])


def test_a_cell_of_the_canvas_meets_the_same_noise_in_every_window() -> None:
    passes = Passes(Recorder(POCKET), SegmenterOptions(max_windows=2, seed=3))
    cells = passes.lay_out((128, 256))

    noise = passes.noise(cells)

    assert noise.shape == (2, 4, *cells.window_yx)
    shared = cells.window_yx[1] - cells.origins_yx[1][1]
    assert shared > 0
    assert torch.equal(noise[0, :, :, -shared:], noise[1, :, :, :shared])
    assert torch.equal(
        noise[0],
        draw_noise((4, *cells.canvas_yx), seed=3, draws=1)[0][
            ..., : cells.window_yx[1]
        ],
    )


def test_only_a_sampled_latent_has_a_second_draw() -> None:
    recorder = Recorder(POCKET)
    image = np.zeros((128, 128, 3), np.uint8)
    noises = []
    for kind in get_args(LatentKind):
        passes = Passes(recorder, SegmenterOptions(latent=kind))
        cells = passes.lay_out((128, 128))
        passes.encode([passes.view(image, cells)])
        noises.append(passes.noise(cells))

    no_jitter, jitter = recorder.jitters
    assert no_jitter is None
    assert jitter is not None
    # The noise is the same; what samples the posterior is another draw.
    assert torch.equal(*noises)
    assert not torch.equal(noises[1], jitter)


def test_what_is_known_is_not_encoded_and_keeps_its_place() -> None:
    recorder = Recorder(POCKET)
    passes = Passes(recorder, SegmenterOptions(images_per_pass=2))
    images = [np.full((128, 128, 3), 40 * n, np.uint8) for n in range(5)]
    cells = passes.lay_out((128, 128))
    fresh = passes.encode([passes.view(image, cells) for image in images])
    n_before = len(recorder.jitters)

    wrong = np.zeros((1, 4, 2, 2), np.float32)
    known = [(), (fresh[1].numpy(),), (wrong,), (wrong, fresh[3].numpy()), ()]
    views = [
        passes.view(image, cells, ImageEncoding(latents=own))
        for image, own in zip(images, known, strict=True)
    ]
    found = passes.encode(views)

    # Three of the five, two at a time.
    assert len(recorder.jitters) - n_before == 2
    assert [one.shape for one in found] == [(1, 4, 32, 32)] * 5
    for one, same in zip(found, fresh, strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("size_yx", [(41, 67), (67, 41)])
def test_an_odd_image_is_read_on_whole_cells(
    parts: UNetBackbone, size_yx: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size_yx, 3), dtype=np.uint8)
    options = SegmenterOptions(presence="off")

    maps = score_one(Segmenter(parts, options), image)

    passes = Passes(parts, options)
    cells = passes.lay_out(size_yx)
    assert all(side % 8 == 0 for side in cells.canvas_yx)
    assert maps.shape[1:] == passes.map_layout(cells).canvas_yx
