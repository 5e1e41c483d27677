"""Tasks with their annotations in, pictures in a folder out, task by task.

Beside what the format writes there is a list of all pictures: which task each is of,
and where its image is.
"""

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image

from backend.errors import BadTask
from backend.export.classes import Classes
from backend.export.format import Encoded, Format, Writer
from backend.export.names import UniqueNames
from backend.export.pictures import Drawing, Picture, drawings_of
from backend.label_config import DrawnTags
from backend.types import FetchedImage, Task

Choice = Literal["latest", "all", "ground-truth"]
Row = Mapping[str, Any]

INDEX_FILE: Final = "images.csv"
_INDEX_COLUMNS: Final = (
    *("file_name", "task", "annotation", "page", "rows", "columns", "regions"),
    "address",
)


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """What is asked for.

    Attributes:
        format: what to write.
        annotations: of several that people submitted for a task, the one that was
            changed last, all (each a picture of its own), or the last of those that
            are marked as ground truth.
        images: whether the images are written too, upright, as PNG.
        view_id: only tasks of this tab of the Data Manager; None for all.
    """

    format: Format
    annotations: Choice = "latest"
    images: bool = False
    view_id: int | None = None


@dataclass(kw_only=True)
class ExportReport:
    """How it went.

    Attributes:
        n_tasks: whose pictures were written.
        n_pictures: that were written.
        n_regions: on them.
        failures: why a task was left out, by its id.
        without_annotation: tasks that have none of those that are asked for.
        left_out: results that are no mask, by what they are.
        new_labels: labels that the label config does not hold.
    """

    n_tasks: int = 0
    n_pictures: int = 0
    n_regions: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    without_annotation: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    new_labels: tuple[str, ...] = ()


class DataSet:
    """The folder that is being written."""

    def __init__(
        self,
        spec: ExportSpec,
        folder: Path,
        classes: Classes,
        *,
        tags: DrawnTags,
        fetch: Callable[[str, int], FetchedImage],
    ) -> None:
        """Begin to write into an empty folder; see `Exporter` for the others."""
        self.spec = spec
        self._writer: Writer = spec.format.open(folder, classes)
        self._tags = tags
        self._fetch = fetch
        self._index_path = folder / INDEX_FILE
        self._images = folder / spec.format.images_folder
        self._names = UniqueNames()
        if spec.images:
            self._images.mkdir(exist_ok=True)
        self._write_index([_INDEX_COLUMNS])

    def add(self, task: Task, annotations: Sequence[Row], report: ExportReport) -> None:
        """Write a task's pictures, all or none.

        Raises:
            BackendError: why there are none.
            OSError: if the folder cannot be written.
        """
        left_out: Counter[str] = Counter()
        ready: list[tuple[Picture, Encoded]] = []
        image_files: list[Path] = []
        try:
            for annotation in annotations:
                results = annotation.get("result") or []
                drawings, others = drawings_of(task, results, self._tags)
                left_out.update(others)
                for drawing in drawings:
                    picture = self._open(task, annotation, drawing, image_files)
                    ready.append((picture, self._writer.encode(picture)))
        except BaseException:
            for path in image_files:
                path.unlink(missing_ok=True)
            raise
        for picture, encoded in ready:
            self._writer.add(picture, encoded)
            report.n_regions += encoded.n_regions
            left_out["region without a pixel"] += (
                len(picture.regions) - encoded.n_regions
            )
        self._write_index([_index_row(picture, encoded) for picture, encoded in ready])
        report.n_tasks += 1
        report.n_pictures += len(ready)
        report.left_out.update(+left_out)

    def finish(self) -> None:
        """Write what is known at the end only."""
        self._writer.finish()

    def _open(
        self,
        task: Task,
        annotation: Row,
        drawing: Drawing,
        image_files: list[Path],
    ) -> Picture:
        """Name a picture, learn its size, and write its image if it is asked for."""
        assert task.id is not None
        addition = f"task{task.id}"
        if drawing.item_index is not None:
            addition += f"-page{drawing.item_index + 1}"
        if self.spec.annotations == "all":
            addition += f"-annotation{annotation['id']}"
        stem, suffix = self._names.claim(drawing.address, addition=addition)
        size_yx = drawing.size_yx
        if self.spec.images or size_yx is None:
            image = self._fetch(drawing.address, task.id)
            size_yx = _checked_size(image, size_yx)
            if self.spec.images:
                suffix = ".png"
                path = self._images / f"{stem}{suffix}"
                image_files.append(path)
                Image.fromarray(image.pixels).save(path, "PNG")
        return Picture(
            stem=stem,
            file_name=f"{stem}{suffix}",
            address=drawing.address,
            task_id=task.id,
            annotation_id=int(annotation["id"]),
            item_index=drawing.item_index,
            size_yx=size_yx,
            regions=drawing.regions,
        )

    def _write_index(self, rows: Sequence[Sequence[object]]) -> None:
        with self._index_path.open(
            "a", encoding="utf-8", errors="replace", newline=""
        ) as file:
            csv.writer(file).writerows(rows)


def _checked_size(
    image: FetchedImage, drawn_yx: tuple[int, int] | None
) -> tuple[int, int]:
    rows, columns = image.pixels.shape[:2]
    if drawn_yx not in (None, (rows, columns)):
        raise BadTask(
            f"The regions were drawn on an image of {drawn_yx[0]} x {drawn_yx[1]} "
            f"pixels (rows x columns), but it has {rows} x {columns} now. Was it "
            f"replaced? Draw them anew."
        )
    return rows, columns


def _index_row(picture: Picture, encoded: Encoded) -> tuple[object, ...]:
    page = "" if picture.item_index is None else picture.item_index
    address = "data:" if picture.is_inline else picture.address
    return (
        *(picture.file_name, picture.task_id, picture.annotation_id, page),
        *(*picture.size_yx, encoded.n_regions, address),
    )
