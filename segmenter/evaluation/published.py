"""What the paper reports, and whether a run may be held against it."""

from dataclasses import dataclass
from typing import Final

from segmenter.evaluation.run import Plan

SOURCE: Final = (
    "DiffSegmenter (arXiv 2309.02773) with Stable Diffusion 1.5, as T2S and GoCA quote "
    "it; its threshold was chosen on the test set, as the oracle's is here"
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure of the paper.

    Attributes:
        miou: in [0, 1], background included.
        n_images: that it is the figure of.
    """

    miou: float
    n_images: int


PUBLISHED: Final = {
    "voc21": Published(miou=0.601, n_images=1449),
    "context60": Published(miou=0.275, n_images=5104),
    "coco-object": Published(miou=0.379, n_images=5000),
}
"""By class list."""


def objections(published: Published, *, n_counted: int, plan: Plan) -> list[str]:
    """Why a run cannot be compared with a figure; nothing when it can."""
    problems = []
    if plan.labels == "present":
        problems.append("the labels were taken from the truth (--labels present)")
    if n_counted != published.n_images:
        problems.append(
            f"{n_counted} images were counted and not the {published.n_images} of the "
            f"benchmark"
        )
    return problems
