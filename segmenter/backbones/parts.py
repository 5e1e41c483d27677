"""Parts of a model in diffusers' layout, ready to run, and what they must fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL

from segmenter.errors import UnsupportedModel
from segmenter.source import ModelSource
from segmenter.weights import load_weights, prepare, read_config


@dataclass(frozen=True, kw_only=True)
class PartLoader:
    """Loads parts of one model.

    Attributes:
        source: of the model.
        device: where they will run.
        dtype: of their weights.
    """

    source: ModelSource
    device: torch.device
    dtype: torch.dtype

    def load(self, loader: Any, folder: str, dtype: torch.dtype | None = None) -> Any:
        """A part with weights; see `weights.load_weights`, also for what it raises.

        Args:
            loader: the library's model class.
            folder: of the part.
            dtype: None for the loader's.
        """
        model = load_weights(
            loader, self.source, folder, torch_dtype=dtype or self.dtype
        )
        return prepare(model, self.device)

    def vae(self, dtype: torch.dtype | None = None) -> Any:
        """The VAE, without its decoder; see `load`."""
        vae = self.load(AutoencoderKL, "vae", dtype)
        # Nothing is ever decoded, which over half of the VAE's weights are for.
        vae.decoder = torch.nn.Identity()
        return vae


def check_takes_latents(
    source: ModelSource,
    config: Mapping[str, Any],
    *,
    default_channels: int,
    use_instead: str,
) -> None:
    """Refuse a transformer that takes more than a latent, before gigabytes are read.

    Args:
        source: of the model.
        config: of its transformer.
        default_channels: diffusers' own where a configuration does not say.
        use_instead: models that are no such thing, in words.

    Raises:
        UnsupportedModel: if it does.
    """
    channels = config.get("in_channels", default_channels)
    expected = (read_config(source, "vae") or {}).get("latent_channels", 4)
    if channels != expected:
        raise UnsupportedModel(
            f"{source.location} has a transformer of {channels} input channels for "
            f"latents of {expected}: it was made for inpainting or editing. Use a "
            f"text-to-image model such as {use_instead}."
        )
