"""The part of the settings that decides about masks. Read by `settings.py` alone."""

from typing import Final, Literal

from pydantic_settings import BaseSettings

from backend.settings.field_types import Words, variable
from backend.types import CutOptions
from segmenter import MODES, Mode, SegmenterOptions

# Of the defaults only; the threshold's is the segmenter's.
_CUT: Final = CutOptions(threshold_01=0.5)


def _of_mode(option: str) -> str:
    """The default that each mode has of its own, as the documents show it."""
    fast, paper = (getattr(SegmenterOptions(mode=mode), option) for mode in MODES)
    spelled = {True: "on", False: "off"}
    return f"`{spelled.get(fast, fast)}` (`paper`: `{spelled.get(paper, paper)}`)"


def _presence_lines() -> str:
    """The same of the threshold that each filter has of its own."""
    calibrated = SegmenterOptions(presence="calibrated").presence_threshold
    paper = SegmenterOptions(presence="paper").presence_threshold
    return f"`{calibrated}` (`PRESENCE=paper`: `{paper}`)"


class SegmentationSettings(BaseSettings):
    """Which model makes masks, and how.

    Attributes:
        model: weights, with an optional `@revision`.
        device: where the model runs.
        score_threshold_01: default of every control, None for the segmenter's.
        overlap: see `CutOptions`, as are the next four.
        regions: see there.
        min_area_01: see there.
        max_regions: see there.
        polygon_tolerance_01: see there.
        mode: how the segmenter reads labels where a control does not say.
        as_published: paper mode takes no liberties that change masks.
        presence: which labels are left out because the picture does not show them;
            None, here and in the next three, for what the mode has.
        presence_threshold_01: see `CutOptions`.
        caption: let a captioner, where the model has one, speak.
        boundaries: see `CutOptions`.
        background_words: what may be in pictures and is no label; None for what the
            recipe of the model's family has.
        aspect: "squash" images to the model's square or "keep" their shape; None for
            what the mode has.
        max_windows: most windows that a large image is read through.
        dtype: precision of the diffusion model.
        compile: let torch compile the model; the first images of every shape take long
            then.
        batch_size: images that share one U-Net pass; None lets model and device
            decide.
    """

    model: str = variable(
        "MODEL",
        default="pocket",
        min_length=1,
        expects="'pocket', 'pocket-mmdit', a Hugging Face model id or a folder",
        help="The diffusion model: `pocket` or `pocket-mmdit` (bundled), a folder in "
        "diffusers layout, or a hub id; `@revision` is allowed.",
    )
    device: str = variable(
        "DEVICE",
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        expects="auto, cpu, mps, cuda or cuda:N",
        help="Where the model runs. `auto` takes CUDA where there is a device.",
    )
    score_threshold_01: float | None = variable(
        "MODEL_SCORE_THRESHOLD",
        gt=0,
        lt=1,
        expects="a number between 0 and 1, both excluded",
        help="Background score: a pixel whose best label scores less is background. "
        "Lower paints more.",
        shown=_of_mode("threshold"),
    )
    overlap: Literal["exclusive", "independent"] = variable(
        "OVERLAP",
        default=_CUT.overlap,
        expects="exclusive or independent",
        help="`exclusive` gives each pixel to its best label; `independent` lets "
        "labels of one control overlap.",
    )
    regions: Literal["label", "part"] = variable(
        "REGIONS",
        default=_CUT.regions,
        expects="label or part",
        help="One region a `label`, or one a connected `part` (brush and bitmask; "
        "polygons and rectangles are always one a part).",
    )
    min_area_01: float = variable(
        "MIN_AREA",
        default=_CUT.min_area_01,
        ge=0,
        lt=1,
        expects="a share of the image from 0 to 1, 1 excluded, such as 0.001",
        help="Parts below this share of the image are dropped, and holes below it "
        "filled. Raise it for fewer small boxes and polygons.",
        shown=f"`{_CUT.min_area_01}` (about one cell of a 64 x 64 map)",
    )
    max_regions: int = variable(
        "MAX_REGIONS",
        default=_CUT.max_regions,
        ge=1,
        expects="a whole number above 0",
        help="At most so many regions of a control on an image; the largest stay.",
    )
    polygon_tolerance_01: float = variable(
        "POLYGON_TOLERANCE",
        default=_CUT.polygon_tolerance_01,
        gt=0,
        lt=1,
        expects="a share of the image's diagonal between 0 and 1, such as 0.002",
        help="How far a polygon may be from the outline of its mask, as a share of the "
        "image's diagonal.",
    )
    mode: Mode = variable(
        "MODEL_MODE",
        default="fast",
        expects=" or ".join(MODES),
        help="How labels are read where a control does not say: all in one pass, or as "
        "the paper has it, one pass a label.",
    )
    as_published: bool = variable(
        "AS_PUBLISHED",
        default=False,
        expects="on or off",
        help="Paper mode to the letter: a sample of the latent in place of its mean, "
        "and large images shrunk without antialiasing.",
    )
    presence: Literal["off", "paper", "calibrated"] | None = variable(
        "PRESENCE",
        expects="off, paper or calibrated",
        help="Which labels are left out as not in the picture: `off` none, "
        "`calibrated` by probability, `paper` those that caption and CLIP do not find.",
        shown=_of_mode("presence"),
    )
    presence_threshold_01: float | None = variable(
        "PRESENCE_THRESHOLD",
        ge=0,
        le=1,
        expects="a probability from 0 to 1, such as 0.3",
        help="How probable it must be that a label is in the picture; 0 draws every "
        "label.",
        shown=_presence_lines(),
    )
    caption: bool | None = variable(
        "CAPTION",
        expects="on or off",
        help="Let BLIP describe the picture: the caption continues each prompt "
        "(`paper`) or precedes the labels (`fast`).",
        shown=_of_mode("caption"),
    )
    boundaries: Literal["off", "guided"] | None = variable(
        "BOUNDARIES",
        expects="off or guided",
        help="`guided` lets the edges of masks follow the edges of the image.",
        shown=_of_mode("boundaries"),
    )
    background_words: Words = variable(
        "BACKGROUND_WORDS",
        expects="words with commas between: sky, grass",
        help="What may be in pictures and is no label (fast mode). The words compete "
        "with the labels, and what they win is background. A comma alone is none.",
        shown="none for the pocket model; others by their [recipe](modes.md#recipes)",
    )
    aspect: Literal["squash", "keep"] | None = variable(
        "ASPECT",
        expects="squash or keep",
        help="Pictures that are not square: `keep` their shape, or `squash` them to "
        "the model's square.",
        shown=_of_mode("aspect"),
    )
    max_windows: int = variable(
        "MAX_WINDOWS",
        default=1,
        ge=1,
        le=64,
        expects="a whole number from 1 to 64",
        help="Read a large picture through up to so many overlapping windows, each a "
        "pass, and once as a whole.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = variable(
        "DTYPE",
        default="auto",
        expects="auto, float32, bfloat16 or float16",
        help="Precision of the diffusion model. `auto` is `float16` on CUDA, else "
        "`float32`. CPUs take no `float16`: requests are then answered with 503 and "
        "the reason. Part of the cache's keys and of `model_version`, as it is written "
        "here, because maps differ by rounding.",
    )
    compile: bool = variable(
        "COMPILE",
        default=False,
        expects="on or off",
        help="Let torch compile the model: 4 % on the CPU that was measured. Needs a "
        "C++ compiler, and the first images of every shape take minutes.",
    )
    batch_size: int | None = variable(
        "BATCH_SIZE",
        ge=1,
        le=256,
        expects="a whole number from 1 to 256",
        help="Images that share a pass.",
        shown="by model and device: on a CPU one of Stable Diffusion 1.5's size, on a "
        "GPU eight",
    )

    def cut_options(self, options: SegmenterOptions) -> CutOptions:
        """How regions are cut where a label config does not say.

        Args:
            options: the segmenter's, made of these settings.
        """
        return CutOptions(
            threshold_01=options.threshold,
            presence_threshold_01=options.presence_threshold,
            boundaries=options.boundaries,
            overlap=self.overlap,
            regions=self.regions,
            min_area_01=self.min_area_01,
            max_regions=self.max_regions,
            polygon_tolerance_01=self.polygon_tolerance_01,
        )
