import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from segmenter.backbones.unet.inputs import draw_noise, noised_latents, to_model_input
from segmenter.options import LatentKind
from segmenter.weights import DiffusionParts
from tests.segmenter.tiny_models import IMAGE_SIDE_PX


def noised(
    parts: DiffusionParts,
    *,
    timestep: int = 100,
    kind: LatentKind = "mean",
    seed: int = 0,
) -> torch.Tensor:
    pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    noise = draw_noise((4, 16, 16), seed=seed, draws=2)[:, None]
    return noised_latents(
        parts.vae,
        parts.scheduler,
        pixels,
        timestep=timestep,
        noise=noise[0],
        jitter=noise[1] if kind == "sample" else None,
    )


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


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 300), (300, 1)])
def test_to_model_input_takes_the_narrowest_images(size_yx: tuple[int, int]) -> None:
    found = to_model_input(np.full((*size_yx, 3), 255, np.uint8), size_yx=(8, 8))

    torch.testing.assert_close(found, torch.ones(3, 8, 8))


def test_to_model_input_takes_an_image_that_cannot_be_written_to(
    picture: NDArray[np.uint8],
) -> None:
    picture.setflags(write=False)

    assert to_model_input(picture, size_yx=(8, 8)).shape == (3, 8, 8)


def test_noised_latent_is_the_forward_process_on_the_posterior_mean(
    parts: DiffusionParts,
) -> None:
    found = noised(parts, timestep=100, seed=5)

    pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    moments = parts.vae.quant_conv(parts.vae.encoder(pixels))
    clean = moments[:, :4] * parts.vae.config.scaling_factor
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    # Stable Diffusion's schedule: betas are squares of an even ramp.
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2
    kept = (1 - betas[:101]).prod()
    expected = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    assert float(kept.sqrt()) == pytest.approx(0.946, abs=1e-3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, check_dtype=False)


def test_noised_latent_depends_on_the_seed_alone(parts: DiffusionParts) -> None:
    first = noised(parts, seed=1)
    torch.manual_seed(123)

    again, other = noised(parts, seed=1), noised(parts, seed=2)

    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_noised_latent_leaves_the_global_random_state_alone(
    parts: DiffusionParts,
) -> None:
    before = torch.random.get_rng_state()

    noised(parts, kind="sample")

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sampled_latent_is_the_mean_and_a_draw_of_the_posterior(
    parts: DiffusionParts,
) -> None:
    mean, sample = noised(parts, seed=1), noised(parts, kind="sample", seed=1)

    assert torch.equal(sample, noised(parts, kind="sample", seed=1))
    assert not torch.allclose(mean, sample)
    # The noise of the forward process is the same draw for both.
    assert float((sample - mean).abs().mean()) < float(
        (noised(parts, seed=2) - mean).abs().mean()
    )


def test_the_tiny_vae_halves_as_often_as_its_side_says(parts: DiffusionParts) -> None:
    assert noised(parts).shape == (1, 4, 16, 16)
    assert IMAGE_SIDE_PX == 64
