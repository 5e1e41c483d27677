"""The part of the settings that decides what is learned from corrections."""

from typing import Final

from backend.settings.field_types import variable
from backend.settings.serving import ServingSettings

_MEBIBYTE: Final = 1024 * 1024


class LearningSettings(ServingSettings):
    """Whether labels learn from what people correct, when it counts, and its room.

    Attributes:
        learning: whether corrections are kept, and what is learned of them is used.
        learn_after: corrections after which a project's labels are learned anew.
        learn_memory_bytes: of memory for what heads read of pictures.
        learn_cache_images: pictures of which the cache keeps the same.
    """

    learning: bool = variable(
        "LEARNING",
        default=True,
        expects="on or off",
        help="Keep what people correct, and let labels [learn from "
        "it](feedback.md). `off` neither keeps nor uses anything of it.",
    )
    learn_after: int = variable(
        "LEARN_AFTER",
        default=10,
        ge=0,
        le=100_000,
        expects="a whole number of corrected tasks from 0 to 100000, 0 for never",
        help="Corrected tasks after which a project's labels are learned anew; the "
        "project's `model_version` changes if that gains anything. `0`: on Label "
        "Studio's *Start Training* alone.",
    )
    learn_memory_bytes: int = variable(
        "LEARN_MEMORY_BYTES",
        default=32 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="Memory for what labels that have learned read of a picture: up to 0.5 MB "
        "each, of those that were looked at lately.",
        shown="`33554432` (32 MiB)",
    )
    learn_cache_images: int = variable(
        "LEARN_CACHE_IMAGES",
        default=512,
        ge=1,
        le=1_000_000,
        expects="a whole number of pictures from 1 to 1000000",
        help="Pictures of which the cache keeps the same, for all processes: up to "
        "0.5 MB each, in as many slots. Tasks that are opened fill them, and those of "
        "projects whose labels have learned; one that is not there costs a pass of "
        "the model.",
    )
