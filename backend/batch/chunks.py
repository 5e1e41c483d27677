"""What a worker takes on at a time: some tasks of one project. A value and its JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

# A task is tried so often in all, with pauses of 10 s, 40 s and 160 s.
MAX_ATTEMPTS: Final = 4
_FIRST_DELAY_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Tasks of one project to pre-annotate.

    Attributes:
        project_id: Label Studio's number.
        task_ids: of the tasks, at least one.
        version: that the predictions are to have. A worker whose model, options or
            label config give another one refuses.
        stores: whether predictions go into Label Studio; else they are made ready
            in the cache, for whoever asks next.
        replaces: whether predictions of our earlier versions are removed after the
            new one is stored.
        run_id: of the run that this belongs to, None for none.
        places: of the tasks in their run; empty without one.
        attempts: how often the same tasks were given up before.
    """

    project_id: int
    task_ids: tuple[int, ...]
    version: str
    stores: bool = True
    replaces: bool = False
    run_id: str | None = None
    places: tuple[int, ...] = ()
    attempts: int = 0

    def in_parts(self, size: int) -> Iterator[Self]:
        """The same in chunks of at most so many tasks."""
        for start in range(0, len(self.task_ids), size):
            yield replace(
                self,
                task_ids=self.task_ids[start : start + size],
                places=self.places[start : start + size],
            )

    def part(self, task_ids: Sequence[int], *, attempts: int | None = None) -> Self:
        """The same for some of the tasks, in the chunk's order."""
        wanted = set(task_ids)
        kept = [at for at, task_id in enumerate(self.task_ids) if task_id in wanted]
        return replace(
            self,
            task_ids=tuple(self.task_ids[at] for at in kept),
            places=tuple(self.places[at] for at in kept) if self.places else (),
            attempts=self.attempts if attempts is None else attempts,
        )

    def places_of(self, task_ids: Sequence[int]) -> list[int]:
        """The places of some of the tasks in their run."""
        places = dict(zip(self.task_ids, self.places, strict=bool(self.places)))
        return [places[task_id] for task_id in task_ids if task_id in places]

    def to_json(self) -> dict[str, Any]:
        """Numbers and texts for the queue; nothing secret is among them."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        run_id = fields["run_id"]
        return cls(
            project_id=int(fields["project_id"]),
            task_ids=tuple(int(task_id) for task_id in fields["task_ids"]),
            version=str(fields["version"]),
            stores=bool(fields["stores"]),
            replaces=bool(fields["replaces"]),
            run_id=None if run_id is None else str(run_id),
            places=tuple(int(place) for place in fields["places"]),
            attempts=int(fields["attempts"]),
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What has become of some tasks of a chunk, for good.

    Attributes:
        done: tasks that hold a prediction of the version now.
        failures: why there is none, by task id; trying again would not help.
        gone: tasks that were deleted from the project meanwhile.
    """

    done: Sequence[int] = ()
    failures: Mapping[int, str] = field(default_factory=dict)
    gone: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What a chunk could not do now.

    Attributes:
        retry: why, by task id; trying again later may help.
        not_started: tasks not begun, because the work was stopped.
        newer_version: what the project's label config gives since it was changed;
            tasks are then left for a chunk of that version. None while it is the same.
    """

    retry: Mapping[int, str] = field(default_factory=dict)
    not_started: Sequence[int] = ()
    newer_version: str | None = None

    def next_attempt(self, chunk: Chunk) -> tuple[Chunk | None, Report]:
        """What to try again, and what is given up because it was tried so often.

        Args:
            chunk: that this is left of.
        """
        tries = chunk.attempts + 1
        if not self.retry:
            return None, Report()
        if tries < MAX_ATTEMPTS:
            return chunk.part(list(self.retry), attempts=tries), Report()
        failures = {
            task: f"{reason} (Tried {tries} times.)"
            for task, reason in self.retry.items()
        }
        return None, Report(failures=failures)


def retry_delay_s(tries: int) -> float:
    """How long tasks rest that were given up `tries` times, 1 or more."""
    return float(_FIRST_DELAY_S * 4 ** (tries - 1))
