"""What a project has learned, as frozen values and their bytes; never pickle.

A head of JSON and then, for the parts that are bytes, just these. Of the person who
corrected there is nothing here, and no field where it could be.
"""

import json
import logging
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, get_args

from segmenter import Heads

logger = logging.getLogger(__name__)

OutcomeKind = Literal["accepted", "corrected", "deleted", "drawn", "relabelled"]

_KINDS: Final = frozenset(get_args(OutcomeKind))
_ODD: Final = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class RegionOutcome:
    """What a person made of one region.

    Attributes:
        label: of the region as it was submitted; of one that was deleted, as it was
            answered.
        kind: "accepted" untouched, "corrected" in its form, "deleted", "drawn" where
            nothing was answered, or "relabelled", whatever became of its form.
        iou: of what was answered and what was submitted, in [0, 1]; 0 where there
            is only one of them.
        added_px: submitted, and not answered.
        removed_px: answered, and not submitted.
        label_before: what a relabelled region was answered with, else None.
    """

    label: str
    kind: OutcomeKind
    iou: float
    added_px: int
    removed_px: int
    label_before: str | None = None


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What one submitted annotation teaches.

    Attributes:
        project: Label Studio's number, as text.
        task: its id, as text.
        annotation: its id.
        updated_at: when it was submitted last, as Label Studio writes it.
        outcomes: of its regions, as they were submitted, and then the deleted ones.
        examples: `segmenter.Example.to_bytes()`, one for each image of the task (and
            mode of its controls), as far as they could be made.
        is_skipped: whether the person skipped the task after all: it teaches nothing,
            and takes the place of what was submitted before.
        is_pending: whether some could not, for now, since the image or the model was
            away.
        model: name of the weights and options that read the images, see
            `Scorer.maps_name`; examples of different ones cannot be learned from
            together.
        image_digests: of the images of `examples`.
        lead_time_s: that the person took, where Label Studio says so.
        had_predictions: whether the annotation began with regions of ours.
    """

    project: str
    task: str
    annotation: int
    updated_at: str
    outcomes: tuple[RegionOutcome, ...] = ()
    examples: tuple[bytes, ...] = ()
    is_skipped: bool = False
    is_pending: bool = False
    model: str = ""
    image_digests: tuple[str, ...] = ()
    lead_time_s: float | None = None
    had_predictions: bool = False

    @property
    def rank(self) -> int:
        """What replaces what: the later moment, and at the same one what is whole.

        At most 2 ** 53, so that every store can compare it.
        """
        return 2 * moment_us(self.updated_at) + (not self.is_pending)

    def to_bytes(self) -> bytes:
        """The same for a store; equal corrections have equal bytes."""
        fields = asdict(self)
        fields["examples"] = [len(example) for example in self.examples]
        return _head(fields) + b"".join(self.examples)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            fields, body = _parted(data)
            sizes = [int(size) for size in fields.pop("examples")]
            if min(sizes, default=0) < 0 or sum(sizes) != len(body):
                raise ValueError("the examples have other lengths")
            ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
            outcomes = tuple(_outcome(one) for one in fields.pop("outcomes"))
            lead_time_s = fields.pop("lead_time_s")
            return cls(
                project=str(fields.pop("project")),
                task=str(fields.pop("task")),
                annotation=int(fields.pop("annotation")),
                updated_at=str(fields.pop("updated_at")),
                outcomes=outcomes,
                examples=tuple(
                    body[end - size : end]
                    for size, end in zip(sizes, ends, strict=True)
                ),
                is_skipped=bool(fields.pop("is_skipped")),
                is_pending=bool(fields.pop("is_pending")),
                model=str(fields.pop("model")),
                image_digests=tuple(map(str, fields.pop("image_digests"))),
                lead_time_s=None if lead_time_s is None else float(lead_time_s),
                had_predictions=bool(fields.pop("had_predictions")),
            )
        except _ODD as error:
            raise ValueError(f"not a correction ({error})") from error


@dataclass(frozen=True, kw_only=True)
class TaughtHeads:
    """What was fitted to a project's corrections.

    Attributes:
        version: 1 for the first that says more than words, then 2, and so on; 0
            before.
        data: `segmenter.Heads.to_bytes()`.
        n_corrections: that it was fitted to.
        made_at: in UTC, such as "2026-11-28T21:54:00+00:00".
        model: of the corrections that it was fitted to; see there.
    """

    version: int
    data: bytes
    n_corrections: int
    made_at: str
    model: str = ""

    def to_bytes(self) -> bytes:
        """The same for a store."""
        fields = asdict(self)
        del fields["data"]
        return _head(fields) + self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: if it is something else.
        """
        try:
            fields, body = _parted(data)
            return cls(
                version=int(fields["version"]),
                data=body,
                n_corrections=int(fields["n_corrections"]),
                made_at=str(fields["made_at"]),
                model=str(fields["model"]),
            )
        except _ODD as error:
            raise ValueError(f"not what was taught ({error})") from error


def read_heads(taught: TaughtHeads | None, project: str) -> Heads | None:
    """What was fitted; None where nothing was, or it cannot be read."""
    try:
        return None if taught is None else Heads.from_bytes(taught.data)
    except ValueError as error:
        logger.warning("Project %s: unreadable heads, left out: %s", project, error)
        return None


def moment_us(text: str) -> int:
    """Microseconds since 1970 of a time as Label Studio writes it.

    Returns:
        0 for what is no time; times without an offset are in UTC. Below 2 ** 52.
    """
    try:
        read = datetime.fromisoformat(text)
        moment = read if read.tzinfo else read.replace(tzinfo=UTC)
        since = moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return 0
    return min(max(0, round(since * 1e6)), (1 << 52) - 1)


def _outcome(fields: dict[str, Any]) -> RegionOutcome:
    found = RegionOutcome(**fields)
    if found.kind not in _KINDS or not math.isfinite(found.iou):
        raise ValueError(f"an outcome {found.kind!r:.20} with IoU {found.iou!r:.20}")
    return found


def _head(fields: dict[str, Any]) -> bytes:
    # No line break is in it: JSON escapes them.
    text = json.dumps({"format": _FORMAT} | fields, sort_keys=True)
    return text.encode("ascii") + b"\n"


def _parted(data: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = data.partition(b"\n")
    fields = json.loads(head)
    if fields.pop("format") != _FORMAT:
        raise ValueError("of another format")
    return fields, body
