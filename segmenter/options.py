"""Every number that changes a mask, in one frozen object."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Final, Literal, get_args

Mode = Literal["paper"]
MODES: Final = get_args(Mode)
LatentKind = Literal["mean", "sample"]
PresenceFilter = Literal["off", "paper"]

# Not among what changes a score map: applied to it afterwards.
_AFTER_THE_MAPS: Final = frozenset({"threshold"})
# Changes speed and memory only.
_NO_EFFECT: Final = frozenset({"labels_per_pass"})


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions:
    """How to segment. Defaults are DiffSegmenter's (arXiv 2309.02773).

    Attributes:
        mode: "paper" is DiffSegmenter as published: one prompt per label.
        timestep: diffusion step whose noise is added, 0 to 999 (paper: 100).
        seed: of the noise, and of the latent when it is sampled.
        latent: "mean" of the VAE's posterior, or one "sample" of it as in the
            published code.
        template: prompt text; `{label}` stands for the label.
        caption: let the captioner, where the model has one, continue the prompt.
        emphasis: factor on the label's token embeddings relative to the empty
            prompt; 1.21 is compel's `++`. 1 switches it off.
        read_participle: read a following word in "-ing" along with the label.
        level_weights: weights of the cross-attention levels, coarsest first
            (paper, for latents of 64: 8, 16, 32 and 64 cells). A model with fewer
            levels uses the first ones.
        self_attention_products: how often the self-attention spreads the maps
            (paper: 1; 0 shows the bare cross-attention).
        presence: "off" takes every label for present; "paper" filters by caption
            and image-text similarity (maintainer's answer, DiffSegmenter issue 2).
        image_similarity: kept from this share of the best label's similarity.
        text_similarity: kept from this similarity to a word of the caption.
        threshold: background score; a pixel whose best label stays below it is
            background. In (0, 1).
        labels_per_pass: labels that share one U-Net batch; memory, not masks.
    """

    mode: Mode = "paper"
    timestep: int = 100
    seed: int = 0
    latent: LatentKind = "mean"
    template: str = "a photograph of {label}"
    caption: bool = True
    emphasis: float = 1.1**2
    read_participle: bool = True
    level_weights: tuple[float, ...] = (0.3, 0.5, 0.1, 0.1)
    self_attention_products: int = 1
    presence: PresenceFilter = "off"
    image_similarity: float = 0.97
    text_similarity: float = 0.8
    threshold: float = 0.6
    labels_per_pass: int = 4

    def __post_init__(self) -> None:
        """Refuse values that no mask can come from, all of them at once."""
        problems = [message for broken, message in self._checks() if broken]
        if problems:
            raise ValueError("; ".join(problems))

    def _checks(self) -> list[tuple[bool, str]]:
        return [
            (
                self.mode not in MODES,
                f"mode is {self.mode!r}, not one of {', '.join(MODES)}",
            ),
            (
                self.latent not in get_args(LatentKind),
                f"latent is {self.latent!r}, not 'mean' or 'sample'",
            ),
            (
                self.presence not in get_args(PresenceFilter),
                f"presence is {self.presence!r}, not 'off' or 'paper'",
            ),
            (
                not 0 <= self.timestep <= 999,
                f"timestep is {self.timestep}, not in 0 to 999",
            ),
            (
                self.template.count("{label}") != 1,
                f"template is {self.template!r}; it must hold {{label}} once",
            ),
            (
                not self.level_weights
                or not all(0 <= weight < math.inf for weight in self.level_weights)
                or self.level_weights[0] <= 0,
                f"level_weights are {self.level_weights}; give numbers of 0 or more, "
                f"the first above 0",
            ),
            (
                not 0 < self.emphasis < math.inf,
                f"emphasis is {self.emphasis}, not a number above 0",
            ),
            *(
                (not 0 < value <= 1, f"{name} is {value}, not above 0 and up to 1")
                for name, value in (
                    ("image_similarity", self.image_similarity),
                    ("text_similarity", self.text_similarity),
                )
            ),
            (
                self.self_attention_products < 0,
                f"self_attention_products is {self.self_attention_products}, below 0",
            ),
            (
                not 0 < self.threshold < 1,
                f"threshold is {self.threshold}, not between 0 and 1",
            ),
            (
                self.labels_per_pass < 1,
                f"labels_per_pass is {self.labels_per_pass}, below 1",
            ),
        ]

    def maps_fingerprint(self) -> str:
        """12 hex digits over all that changes a score map (not the threshold)."""
        return self._digest(_NO_EFFECT | _AFTER_THE_MAPS)

    def fingerprint(self) -> str:
        """12 hex digits over all that changes a mask."""
        return self._digest(_NO_EFFECT)

    def _digest(self, left_out: frozenset[str]) -> str:
        fields = {k: v for k, v in asdict(self).items() if k not in left_out}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[
            :12
        ]
