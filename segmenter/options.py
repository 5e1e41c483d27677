"""Every number that changes a mask, in one frozen object."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final, Literal, get_args

Mode = Literal["fast", "paper"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
LatentKind = Literal["mean", "sample"]
PresenceFilter = Literal["off", "paper", "calibrated"]
SelfAttentionLayers = Literal["all", "decoder"]
Aspect = Literal["squash", "keep"]
Boundaries = Literal["off", "guided"]

# Not among what changes a score map: applied to it afterwards.
_AFTER_THE_MAPS: Final = frozenset({"threshold", "boundaries"})
# Changes speed and memory only.
_NO_EFFECT: Final = frozenset({"labels_per_pass", "images_per_pass"})

# Fields that came later, with the value that makes the maps of before: under it they
# are no part of a fingerprint, so that what is cached stays good.
_LATER: Final[Mapping[str, Any]] = {
    "as_published": False,
    "separator": ", ",
    "start_token": True,
    "stretched": True,
}

# Fields that a mode sets where the caller does not.
_OF_MODE: Any = None
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "fast": {
        "aspect": "keep",
        "caption": False,
        "level_weights": (0.15, 0.7, 0.15, 0.0),
        "self_attention_layers": "decoder",
        "competition": True,
        "presence": "calibrated",
        "boundaries": "guided",
        "threshold": 0.46,
    },
    "paper": {
        "aspect": "squash",
        "caption": True,
        "level_weights": (0.3, 0.5, 0.1, 0.1),
        "self_attention_layers": "all",
        "competition": False,
        "presence": "off",
        "boundaries": "off",
        "threshold": 0.6,
    },
}

# Measured on the pocket model's scenes: 0.2 to 0.4 were best, with labels that are all
# there as with labels most of which are not.
_PRESENCE_THRESHOLDS: Final[Mapping[str, float]] = {"calibrated": 0.3}


@dataclass(frozen=True, kw_only=True)
class SegmenterOptions:
    """How to segment. What a field's default depends on the mode for, says so.

    Attributes:
        mode: "fast" reads all labels in one pass of the model; "paper" is DiffSegmenter
            (arXiv 2309.02773) as published, one prompt and one pass per label.
        timestep: diffusion step whose noise is added, 0 to 999 (paper: 100).
        seed: of the noise, and of the latent when it is sampled.
        latent: "mean" of the VAE's posterior, or one "sample" of it as in the
            published code.
        as_published: paper mode to the letter: one "sample" of the latent, and images
            shrunk without antialiasing. Reading the mean, and averaging over all pixels
            that a smaller one covers, are this package's own
            (docs/modes.md#liberties-of-paper-mode says what they change).
        aspect: "squash" the image to the model's square, as published, or "keep"
            its shape, up to 3 : 1, on about as many cells.
        max_windows: an image larger than the model is read in up to so many
            overlapping windows (and in fast mode once as a whole), each a pass;
            1 reads it as a whole only.
        template: prompt text of paper mode; `{label}` stands for the label.
        caption: let the captioner, where the model has one, continue each prompt
            (paper mode) or precede the list of labels (fast mode).
        emphasis: factor on the label's token embeddings relative to the empty
            prompt in paper mode; 1.21 is compel's `++`. 1 switches it off.
        read_participle: in paper mode, read a following word in "-ing" along with
            the label.
        background_words: fast mode: what may be in a picture and is no label. They
            stand in the prompt, compete for every cell, and what they win is
            background. A word that is also a label is left out.
        competition: fast mode: a label's share of each cell, against the other
            labels that are present, the background words and the start token, takes
            the place of its attention.
        start_token: fast mode: the start token, which draws what no word names, takes
            part in the competition; without it labels and background words share out
            every cell among themselves. It stays where there is no background word.
        separator: fast mode: what stands between the words of the prompt.
        stretched: fast mode: each label's map is stretched to [0, 1] before pixels are
            given to labels; else maps stay the shares that they are.
        level_weights: weights of the cross-attention levels, coarsest first (for
            latents of 64: 8, 16, 32 and 64 cells). A model with fewer levels uses
            the first ones. Of weight 0, a level is not computed.
        self_attention_products: how often the self-attention refines the maps
            (paper: 1; 0 shows the bare cross-attention).
        self_attention_layers: of the finest level, whose mean refines the maps:
            "all", as published, or the first two of the "decoder", after which the
            U-Net need not go on. A model without a decoder reads what it has.
        presence: "off" takes every label for present; "paper" filters by caption
            and image-text similarity (maintainer's answer, DiffSegmenter issue 2);
            "calibrated" weighs the image-text model against words that are no
            labels, and in fast mode the maps' own evidence.
        presence_threshold: labels with less presence are not in the picture; in
            [0, 1]. Its default depends on the filter: 0.5 is the paper's own,
            0.3 what the calibrated probability is asked for, because a mask to
            delete costs less than one to draw.
        image_similarity: paper's filter: kept from this share of the best label's
            similarity.
        text_similarity: paper's filter: kept from this similarity to a word of the
            caption.
        boundaries: "guided" lets the edges of masks follow the image's; "off" leaves
            them as the score maps have them, as published.
        threshold: background score; a pixel whose best label stays below it is
            background. In (0, 1).
        labels_per_pass: paper mode: labels that share one batch; memory, not
            masks.
        images_per_pass: fast mode: images, or windows of them, that share one
            batch; memory, not masks. None lets model and device decide, see
            `modes.Passes.max_batch`.
    """

    mode: Mode = "fast"
    timestep: int = 100
    seed: int = 0
    latent: LatentKind = "mean"
    as_published: bool = False
    aspect: Aspect = _OF_MODE
    max_windows: int = 1
    template: str = "a photograph of {label}"
    caption: bool = _OF_MODE
    emphasis: float = 1.1**2
    read_participle: bool = True
    background_words: tuple[str, ...] = ()
    competition: bool = _OF_MODE
    start_token: bool = True
    separator: str = ", "
    stretched: bool = True
    level_weights: tuple[float, ...] = _OF_MODE
    self_attention_products: int = 1
    self_attention_layers: SelfAttentionLayers = _OF_MODE
    presence: PresenceFilter = _OF_MODE
    presence_threshold: float = _OF_MODE
    image_similarity: float = 0.97
    text_similarity: float = 0.8
    boundaries: Boundaries = _OF_MODE
    threshold: float = _OF_MODE
    labels_per_pass: int = 4
    images_per_pass: int | None = None

    def __post_init__(self) -> None:
        """Fill in the mode's defaults, then refuse what no mask can come from.

        Raises:
            ValueError: naming everything that is wrong at once.
        """
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}, not one of {', '.join(MODES)}")
        for name, default in _DEFAULTS[self.mode].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.as_published:
            object.__setattr__(self, "latent", "sample")
        if self.presence_threshold is None:
            threshold = _PRESENCE_THRESHOLDS.get(self.presence, 0.5)
            object.__setattr__(self, "presence_threshold", threshold)
        problems = [message for broken, message in self._checks() if broken]
        if problems:
            raise ValueError("; ".join(problems))

    def _checks(self) -> list[tuple[bool, str]]:
        return [
            *self._choice_checks(),
            (
                not 0 <= self.timestep <= 999,
                f"timestep is {self.timestep}, not in 0 to 999",
            ),
            (
                self.as_published and self.mode != "paper",
                f"as_published is True in {self.mode} mode; it is paper mode's",
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
            (
                not all(word.strip() for word in self.background_words),
                f"background_words are {self.background_words}; one of them is blank",
            ),
            *(
                (not 0 < value <= 1, f"{name} is {value}, not above 0 and up to 1")
                for name, value in (
                    ("image_similarity", self.image_similarity),
                    ("text_similarity", self.text_similarity),
                )
            ),
            (
                not 0 <= self.presence_threshold <= 1,
                f"presence_threshold is {self.presence_threshold}, not in 0 to 1",
            ),
            (
                not self.separator or self.separator.strip(" ,.;|") != "",
                f"separator is {self.separator!r}; give a space or punctuation",
            ),
            (
                self.self_attention_products < 0,
                f"self_attention_products is {self.self_attention_products}, below 0",
            ),
            (
                not 0 < self.threshold < 1,
                f"threshold is {self.threshold}, not between 0 and 1",
            ),
            *(
                (value is not None and value < 1, f"{name} is {value}, below 1")
                for name, value in (
                    ("labels_per_pass", self.labels_per_pass),
                    ("images_per_pass", self.images_per_pass),
                    ("max_windows", self.max_windows),
                )
            ),
        ]

    def _choice_checks(self) -> list[tuple[bool, str]]:
        """One for each field that takes one of a few words."""
        choices = {
            "latent": LatentKind,
            "aspect": Aspect,
            "self_attention_layers": SelfAttentionLayers,
            "presence": PresenceFilter,
            "boundaries": Boundaries,
        }
        return [
            (
                getattr(self, name) not in get_args(kind),
                f"{name} is {getattr(self, name)!r}, not "
                + " or ".join(map(repr, get_args(kind))),
            )
            for name, kind in choices.items()
        ]

    def described(self) -> dict[str, Any]:
        """All fields, but for later ones that leave maps as they were before."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _LATER or value != _LATER[name]
        }

    def maps_fingerprint(self) -> str:
        """12 hex digits over all that changes a score map (not the threshold)."""
        # Paper mode makes no maps of labels that are not present.
        unread = {"presence_threshold"} if self.mode == "fast" else set()
        return _digest(self, _NO_EFFECT | _AFTER_THE_MAPS | unread)

    def fingerprint(self) -> str:
        """12 hex digits over all that changes a mask."""
        return _digest(self, _NO_EFFECT)


# Asked for with every image.
@lru_cache(maxsize=64)
def _digest(options: SegmenterOptions, left_out: frozenset[str]) -> str:
    fields = {k: v for k, v in options.described().items() if k not in left_out}
    if options.mode == "fast" and options.competition and options.presence == "paper":
        # Maps of labels that the filter leaves out were empty before.
        fields["left_out_labels"] = "mapped"
    content = json.dumps(fields, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:12]
