"""Tasks in, their images as they arrive out, a bounded number ahead of the model.

Knows which of a task's fields hold images, and nothing of what is done with them.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Self, TypeVar

from backend.errors import BackendError, BadTask, ImageNotFound
from backend.label_config import image_addresses, loose_end
from backend.types import Control, Task
from segmenter import Mode, SegmenterError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Images that are fetched, or wait for the model, beyond those that are handed out
# together; with them, it bounds memory.
_AHEAD: Final = 8
# Images that are handed out together at least, to share one cache lookup, and at
# most, because each may be large.
_AT_ONCE: Final = 4
_MOST_AT_ONCE: Final = 32
# How long the first image waits for others, to share the lookup and a pass with them.
_GATHER_S: Final = 0.01


@dataclass(kw_only=True, eq=False)
class PendingTask:
    """A task on its way to its answer.

    Attributes:
        index: in the request.
        task: as it came.
        jobs_left: images that are not done with.
        regions: what was drawn, by the number of the job.
        fresh: of those that were drawn just now, and not known before: the keys by
            which they are to be known.
        failures: why there can be no answer; without tracebacks, whose frames
            would keep images alive.
    """

    index: int
    task: Task
    jobs_left: int = 0
    regions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    fresh: dict[int, str] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One image of one task, and the controls that draw on it.

    Attributes:
        task: whose image it is.
        number: of the task's jobs, from 0, in the config's order.
        address: of the image.
        controls: at least one.
        item_index: page of a multi-page image, else None.
    """

    task: PendingTask
    number: int
    address: str
    controls: tuple[Control, ...]
    item_index: int | None

    @property
    def prompts(self) -> Mapping[Mode, tuple[str, ...]]:
        """For each mode of its controls, each prompt once, in the config's order."""
        found: dict[Mode, dict[str, None]] = {}
        for control in self.controls:
            of_mode = found.setdefault(control.mode, {})
            for label in control.labels:
                of_mode.update(dict.fromkeys(label.prompts))
        return {mode: tuple(prompts) for mode, prompts in found.items()}

    def presence_threshold_01(self, mode: Mode) -> float:
        """The lowest presence that any label of the mode's controls is drawn at."""
        lines = (
            control.presence_threshold_of(label)
            for control in self.controls
            if control.mode == mode
            for label in control.labels
        )
        return min(lines, default=1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class FetchResult(Generic[T]):
    """A job whose image is here, or why it is not."""

    job: Job
    image: T | Exception


class Prefetcher(Generic[T]):
    """Fetches the images of tasks in parallel while its `with` block lasts."""

    def __init__(
        self,
        tasks: Sequence[Task],
        controls_of: Callable[[Task], tuple[Control, ...]],
        fetch: Callable[[Job], T],
        *,
        at_once: int = _AT_ONCE,
    ) -> None:
        """Take tasks in; nothing is fetched before the `with` block.

        Args:
            tasks: of one request, in the order to begin with them.
            controls_of: a task's controls; may raise `BackendError`.
            fetch: gives what is wanted of one image, in another thread; may raise
                `BackendError`.
            at_once: images that are best handed out together.
        """
        self._at_once = min(max(_AT_ONCE, at_once), _MOST_AT_ONCE)
        self._ahead = _AHEAD + self._at_once
        self._controls_of = controls_of
        self._fetch = fetch
        self._entries = self._open(tasks)
        self._fetching: dict[Future[T], Job] = {}
        self._failed: list[PendingTask] = []
        self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="fetch")

    def __enter__(self) -> Self:
        self._refill()
        return self

    def __exit__(self, *_: object) -> None:
        # Nobody waits for slow downloads that nobody asks for any more.
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to take."""
        return not self._fetching and not self._failed

    def take_failed(self) -> list[PendingTask]:
        """Tasks that have no job, because of what is among their failures."""
        broken, self._failed = self._failed, []
        return broken

    def take_results(self, timeout_s: float) -> list[FetchResult[T]]:
        """Images that have arrived since, and begin with as many others.

        Args:
            timeout_s: how long to wait for the first; 0 or less: not at all.
        """
        done = wait(self._fetching, min(_GATHER_S, max(timeout_s, 0))).done
        if not done and timeout_s > 0:
            done = wait(self._fetching, timeout_s, FIRST_COMPLETED).done
        results = []
        for future in [f for f in self._fetching if f in done][: self._at_once]:
            job = self._fetching.pop(future)
            image: T | Exception = _of(future, job)
            results.append(FetchResult(job=job, image=image))
        self._refill()
        return results

    def _refill(self) -> None:
        while len(self._fetching) < self._ahead:
            entry = next(self._entries, None)
            if entry is None:
                return
            if isinstance(entry, PendingTask):
                self._failed.append(entry)
            else:
                self._fetching[self._pool.submit(self._fetch, entry)] = entry

    def _open(self, tasks: Sequence[Task]) -> Iterator[Job | PendingTask]:
        """The jobs of every task, or the task itself where there can be none."""
        for index, task in enumerate(tasks):
            opened = PendingTask(index=index, task=task)
            try:
                jobs = list(jobs_of(opened, self._controls_of(task)))
            # The border to the task's data: whatever it holds costs this task alone.
            except Exception as error:
                opened.failures.append(without_traceback(error, task.id))
                yield opened
            else:
                opened.jobs_left = len(jobs)
                yield from jobs


def without_traceback(error: Exception, task_id: int | None) -> Exception:
    """The same error, logged if it is a bug, and free of the frames it passed.

    Those hold files and pictures, which would live as long as the error.
    """
    if not isinstance(error, BackendError | SegmenterError):
        logger.error(
            "Unexpected error while predicting task %s.", task_id, exc_info=error
        )
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _of(future: Future[T], job: Job) -> T | Exception:
    """What was fetched, or what went wrong: the border to network and decoders."""
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, Exception):
        raise error
    return without_traceback(error, job.task.task.id)


def jobs_of(opened: PendingTask, controls: tuple[Control, ...]) -> Iterator[Job]:
    """One job per image; controls on the same image share it.

    Raises:
        BadTask: if the task brings no labels, or too many images.
        ImageNotFound: if it names no image at all.
    """
    data = opened.task.data
    if not controls:
        raise BadTask(
            f"The task's data has no labels where the label config looks for them. "
            f'Give it a list such as [{{"value": "cat"}}] there; the data has '
            f"{sorted(map(str, data))}."
        )
    images = dict.fromkeys(control.image for control in controls)
    wanted = [
        (image, index, address)
        for image in images
        for index, address in image_addresses(image, data)
    ]
    if not wanted:
        names = ", ".join(repr(image.value) for image in images)
        said = [found for image in images if (found := loose_end(image.value))]
        raise ImageNotFound(
            f"The task's data has no image in {names}, where the label config's "
            f"<Image> looks: it is missing or empty there, and the data has "
            f"{sorted(map(str, data))}. "
            + (
                f"{said[0]}."
                if said
                else "Import the task with an address in that field."
            )
        )
    for number, (image, index, address) in enumerate(wanted):
        yield Job(
            task=opened,
            number=number,
            address=address,
            controls=tuple(c for c in controls if c.image == image),
            item_index=index,
        )
