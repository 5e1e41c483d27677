"""What was found of each image, as lines of JSON in a file that outlives the run.

The first line says which run it is: what the masks depend on. Each further line is one
image, written when it is done, so that a run which was stopped or killed goes on where
it was. Images that failed are tried again by the next run. One run writes at a time.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from segmenter.evaluation.counts import Rows
from segmenter.evaluation.errors import OtherRun

Run = Mapping[str, Any]
"""What a run's records depend on, by name; of JSON's types."""

_REMEDY: Final = "Give another --out, or --restart to count all images again."


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """What was counted in one image.

    Attributes:
        name: of the image, without suffix.
        seconds: that the segmenter took, reading and counting apart.
        asked: the classes that were asked for.
        presence: of each of `asked`, in [0, 1].
        shown: the classes that the truth has, background apart.
        iou: `IouCounts.rows` at the options' threshold.
        sweep: `SweepCounts.rows`.
        boundaries: `BoundaryCounts.rows` at the options' threshold.
        work: `WorkCounts.rows` at the options' threshold, None where not asked for.
    """

    name: str
    seconds: float
    asked: list[int]
    presence: list[float]
    shown: list[int]
    iou: Rows
    sweep: Rows
    boundaries: Rows
    work: Rows | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be counted.

    Attributes:
        name: of the image, without suffix.
        reason: a sentence for the user.
    """

    name: str
    reason: str


Record = ImageRecord | Failure


class RecordFile:
    """The records of one run; opened for it by `open_records`."""

    def __init__(self, path: Path) -> None:
        """Take a file whose first line is the run's."""
        self._path = path

    def append(self, record: Record) -> None:
        """Write one image's line; it is with the system when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_to_line(asdict(record)))

    def counted(self) -> Iterator[ImageRecord]:
        """The images that are done, in the order they were written.

        Raises:
            OtherRun: naming the line that is no record.
        """
        for number, line in enumerate(_lines(self._path), start=1):
            record = None if number == 1 else _read(line, self._path, number)
            if isinstance(record, ImageRecord):
                yield record


def open_records(path: Path, run: Run, *, restart: bool = False) -> RecordFile:
    """Begin the file, or take it up where a run like this one left it.

    Args:
        path: of the file; folders above it are made.
        run: what the records depend on.
        restart: forget what the file holds.

    Raises:
        OtherRun: if the file's run differs in anything, or a line is damaged.
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    records = RecordFile(path)
    kept: Iterator[ImageRecord] = iter(())
    if path.exists() and not restart:
        _check_run(records, path, run)
        kept = records.counted()
    # Beside it first: a run that is killed here must not lose what was there.
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(_to_line({"run": run}))
            file.writelines(_to_line(asdict(record)) for record in kept)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return records


def _check_run(records: RecordFile, path: Path, run: Run) -> None:
    """Refuse a file of another run, as far as an image was counted in it."""
    first = next(_lines(path), None)
    if first is None:
        return
    found = _parse(first, path, 1)
    if not isinstance(found.get("run"), dict):
        raise OtherRun(f"{path} holds no records of an evaluation. {_REMEDY}")
    # As the file would have it: tuples are lists there.
    differences = list(_differences(found["run"], json.loads(json.dumps(run))))
    if differences and any(True for _ in records.counted()):
        raise OtherRun(
            f"The records in {path} are of another run: {'; '.join(differences)}. "
            f"{_REMEDY}"
        )


def _differences(old: Run, new: Run, prefix: str = "") -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{prefix}{key} ")
        elif before != now:
            yield f"{prefix}{key} was {_short(before)} and is {_short(now)} now"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _lines(path: Path) -> Iterator[str]:
    """Whole lines; the last one of a killed process may lack its end, and goes."""
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line for line in file if line.endswith("\n"))


def _read(line: str, path: Path, number: int) -> Record:
    found = _parse(line, path, number)
    kind = Failure if "reason" in found else ImageRecord
    names = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    if not needed <= found.keys() <= names:
        raise OtherRun(f"{path}, line {number} is no image's record. {_REMEDY}")
    return kind(**found)


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as e:
        raise OtherRun(f"{path}, line {number} is damaged ({e}). {_REMEDY}") from e
    if not isinstance(found, dict):
        raise OtherRun(f"{path}, line {number} is no record. {_REMEDY}")
    return found


def _to_line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
