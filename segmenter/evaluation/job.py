"""One evaluation, understood: what is asked of which model about which images."""

from dataclasses import asdict, dataclass
from typing import Final

from segmenter.evaluation.class_lists import ClassList
from segmenter.evaluation.records import Run
from segmenter.evaluation.run import Plan
from segmenter.evaluation.voc_folder import VocFolder
from segmenter.options import SegmenterOptions
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
        options = asdict(self.options)
        if not self.options.as_published:
            # As before there was a choice, so that records go on.
            del options["as_published"]
        # As above: no word of what is not asked for.
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
            "options": {k: v for k, v in options.items() if k not in _NOT_OF_THE_RUN},
            **extras,
        }
