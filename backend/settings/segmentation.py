"""The part of the settings that decides about masks. Read by `settings.py` alone."""

from typing import Final, Literal

from pydantic_settings import BaseSettings

from backend.settings.field_types import Words, variable
from backend.types import CutOptions
from segmenter import MODES, Mode, SegmenterOptions

# Of the defaults only; the threshold's is the segmenter's.
_CUT: Final = CutOptions(threshold_01=0.5)


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
        presence: which labels are left out because the picture does not show them;
            None, here and in the next three, for what the mode has.
        presence_threshold_01: see `CutOptions`.
        caption: let a captioner, where the model has one, speak.
        boundaries: see `CutOptions`.
        background_words: what may be in pictures and is no label.
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
        expects="'pocket', a Hugging Face model id or a folder",
    )
    device: str = variable(
        "DEVICE",
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        expects="auto, cpu, mps, cuda or cuda:N",
    )
    score_threshold_01: float | None = variable(
        "MODEL_SCORE_THRESHOLD",
        gt=0,
        lt=1,
        expects="a number between 0 and 1, both excluded",
    )
    overlap: Literal["exclusive", "independent"] = variable(
        "OVERLAP", default=_CUT.overlap, expects="exclusive or independent"
    )
    regions: Literal["label", "part"] = variable(
        "REGIONS", default=_CUT.regions, expects="label or part"
    )
    min_area_01: float = variable(
        "MIN_AREA",
        default=_CUT.min_area_01,
        ge=0,
        lt=1,
        expects="a share of the image from 0 to 1, 1 excluded, such as 0.001",
    )
    max_regions: int = variable(
        "MAX_REGIONS",
        default=_CUT.max_regions,
        ge=1,
        expects="a whole number above 0",
    )
    polygon_tolerance_01: float = variable(
        "POLYGON_TOLERANCE",
        default=_CUT.polygon_tolerance_01,
        gt=0,
        lt=1,
        expects="a share of the image's diagonal between 0 and 1, such as 0.002",
    )
    mode: Mode = variable("MODEL_MODE", default="fast", expects=" or ".join(MODES))
    presence: Literal["off", "paper", "calibrated"] | None = variable(
        "PRESENCE", expects="off, paper or calibrated"
    )
    presence_threshold_01: float | None = variable(
        "PRESENCE_THRESHOLD",
        ge=0,
        le=1,
        expects="a probability from 0 to 1, such as 0.3",
    )
    caption: bool | None = variable("CAPTION", expects="on or off")
    boundaries: Literal["off", "guided"] | None = variable(
        "BOUNDARIES", expects="off or guided"
    )
    background_words: Words = variable(
        "BACKGROUND_WORDS", default=(), expects="words with commas between: sky, grass"
    )
    aspect: Literal["squash", "keep"] | None = variable(
        "ASPECT", expects="squash or keep"
    )
    max_windows: int = variable(
        "MAX_WINDOWS", default=1, ge=1, le=64, expects="a whole number from 1 to 64"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = variable(
        "DTYPE", default="auto", expects="auto, float32, bfloat16 or float16"
    )
    compile: bool = variable("COMPILE", default=False, expects="on or off")
    batch_size: int | None = variable(
        "BATCH_SIZE", ge=1, le=256, expects="a whole number from 1 to 256"
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
