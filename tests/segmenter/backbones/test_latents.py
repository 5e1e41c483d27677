import pytest
import torch

from segmenter.backbones.latents import noised_latents
from segmenter.backbones.unet import UNetBackbone
from segmenter.modes.passes import draw_noise
from segmenter.options import LatentKind
from tests.segmenter.tiny_models import IMAGE_SIDE_PX


def noised(
    parts: UNetBackbone,
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


def test_noised_latent_is_the_forward_process_on_the_posterior_mean(
    parts: UNetBackbone,
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


def test_noised_latent_depends_on_the_seed_alone(parts: UNetBackbone) -> None:
    first = noised(parts, seed=1)
    torch.manual_seed(123)

    again, other = noised(parts, seed=1), noised(parts, seed=2)

    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_noised_latent_leaves_the_global_random_state_alone(
    parts: UNetBackbone,
) -> None:
    before = torch.random.get_rng_state()

    noised(parts, kind="sample")

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sampled_latent_is_the_mean_and_a_draw_of_the_posterior(
    parts: UNetBackbone,
) -> None:
    mean, sample = noised(parts, seed=1), noised(parts, kind="sample", seed=1)

    assert torch.equal(sample, noised(parts, kind="sample", seed=1))
    assert not torch.allclose(mean, sample)
    # The noise of the forward process is the same draw for both.
    assert float((sample - mean).abs().mean()) < float(
        (noised(parts, seed=2) - mean).abs().mean()
    )


def test_the_tiny_vae_halves_as_often_as_its_side_says(parts: UNetBackbone) -> None:
    assert noised(parts).shape == (1, 4, 16, 16)
    assert IMAGE_SIDE_PX == 64
