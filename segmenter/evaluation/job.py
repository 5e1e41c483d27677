"""One evaluation, understood: what is asked of which model about which images."""

from dataclasses import dataclass
from typing import Final

from segmenter.evaluation.class_lists import ClassList
from segmenter.evaluation.records import Run
from segmenter.evaluation.run import Plan
from segmenter.evaluation.voc_folder import VocFolder
from segmenter.options import Mode, SegmenterOptions
from segmenter.recipes import RECIPES
from segmenter.source import ModelSource

# Of the options, what changes speed and memory only.
_NOT_OF_THE_RUN: Final = ("labels_per_pass", "images_per_pass")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one command line asks for.

    Attributes:
        folder: the data set.
        names: of its images, those to count.
        classes: what the truth's numbers stand for.
        plan: what to ask for.
        options: how to segment.
        model: as `load_segmenter` takes it.
        device: as `load_segmenter` takes it.
        dtype: as `load_segmenter` takes it.
    """

    folder: VocFolder
    names: tuple[str, ...]
    classes: ClassList
    plan: Plan
    options: SegmenterOptions
    model: str
    device: str
    dtype: str

    def describe(self) -> Run:
        """All that an image's record depends on, beside the image.

        Raises:
            WeightsNotFound: if the model is none, or its files cannot be read.
        """
        source = ModelSource.parse(self.model)
        # No word of what is not asked for, so that older records go on.
        extras = {"work saved": True} if self.plan.work_saved else {}
        return {
            "folder": str(self.folder.root.resolve()),
            "split": self.folder.split,
            "truth folder": self.folder.truth_folder,
            "class list": self.classes.title,
            "classes": self.classes.to_lines(),
            "labels": self.plan.labels,
            "absent": self.plan.absent,
            "model": source.name,
            "weights": source.fingerprint(),
            "device": self.device,
            "dtype": self.dtype,
            "options": {
                name: value
                for name, value in self.options.described().items()
                if name not in _NOT_OF_THE_RUN
            },
            **extras,
        }


def parse_recipes(names: str, own: str) -> dict[str, tuple[Mode, str]]:
    """Modes and recipes of "paper,fast,toy", by name.

    Raises:
        ValueError: if a name is none of them.
    """
    known: dict[str, tuple[Mode, str]] = {
        "paper": ("paper", own),
        "fast": ("fast", own),
        "toy": ("fast", "pocket"),
        **{name: ("fast", name) for name in RECIPES},
    }
    asked = [name.strip() for name in names.split(",")]
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(
            f"--recipe has {unknown[0]!r}, which is none of {', '.join(known)}."
        )
    return {name: known[name] for name in asked}
