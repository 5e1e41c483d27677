"""Fixtures for tests of the segmenter: one set of tiny models for all of them."""

from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter.backbones.unet import UNetBackbone
from segmenter.presence import Captioner, ImageText
from tests.segmenter.tiny_models import (
    make_captioner,
    make_image_text,
    make_parts,
    save_model,
)


@pytest.fixture(scope="session")
def parts() -> UNetBackbone:
    """A random diffusion model; nobody changes it."""
    return make_parts()


@pytest.fixture(scope="session")
def captioner() -> Captioner:
    """A random BLIP."""
    return make_captioner()


@pytest.fixture(scope="session")
def image_text() -> ImageText:
    """A random CLIP."""
    return make_image_text()


@pytest.fixture(scope="session")
def model_dir(
    tmp_path_factory: pytest.TempPathFactory,
    parts: UNetBackbone,
    captioner: Captioner,
    image_text: ImageText,
) -> Path:
    """The same models, saved; nobody changes the files."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, parts, captioner, image_text)
    return folder


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """Coloured noise in blocks, wider than high: uint8 (48, 72, 3)."""
    blocks = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 sets; the libraries read it once, at import."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
