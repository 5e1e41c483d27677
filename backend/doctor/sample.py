"""Checks of one task end to end: its images, and the regions on them.

Everything goes through the parts that answer Label Studio, and nothing is stored.
"""

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backend.doctor.findings import (
    Check,
    Finding,
    ok,
    problem,
    problem_of,
    skipped,
    warning,
)
from backend.doctor.labels import EDITOR
from backend.doctor.project import NO_PROJECT, Project, first_task
from backend.doctor.running import RunningBackend
from backend.errors import BadLabelConfig
from backend.http import shorten
from backend.images import ImageFetcher
from backend.inference import Job, Predictor, Prefetcher
from backend.label_config import LabelConfig
from backend.label_studio import LabelStudioClient, PredictRequest
from backend.types import FetchedImage, LabelStudioAccess, Task
from segmenter import SegmenterError

_IMAGES_SHOWN: Final = 5
_RETRY_FOR_S: Final = 5.0
# Beyond it the editor takes about twice as long to open bitmasks as brushes, and more.
_SLOW_BITMASK_PIXELS: Final = 6_000_000


def check_sample(
    client: LabelStudioClient | None,
    project: Project | None,
    config: LabelConfig | None,
    fetcher: ImageFetcher,
    *,
    task_id: int | None,
    no_project: str = NO_PROJECT,
) -> Check[Task | None]:
    """Read one task's images; returns the task when all could be read."""
    if client is None or project is None:
        yield skipped("image", no_project)
        return None
    if config is None:
        yield skipped("image", "the label config has nothing to segment")
        return None
    found = first_task(client, project, task_id)
    if isinstance(found, str):
        yield problem(
            "image",
            f"project {project.id} cannot be tried: {found}",
            "Import a picture into the project, or choose a task with --task NUMBER.",
        )
        return None
    number = found.get("id")
    task = Task(id=number if isinstance(number, int) else None, data=found["data"])
    can_go_on = True
    for finding in _read_images(task, config, fetcher, client.access):
        can_go_on &= finding.level != "problem"
        yield finding
    return task if can_go_on else None


def check_prediction(
    predictor: Predictor | None,
    project: Project | None,
    config: LabelConfig | None,
    task: Task | None,
    access: LabelStudioAccess,
    *,
    running: RunningBackend | None = None,
) -> Check[None]:
    """Segment the task as Label Studio would have it, and judge the answer.

    Args:
        predictor: segments; None if no model is loaded.
        project: of the task.
        config: its label config.
        task: to try.
        access: to its image.
        running: is asked instead of the predictor.
    """
    if project is None or config is None or task is None:
        yield skipped("prediction", "no image was read")
        return
    if running is not None:
        yield _ask_running(running, project, config, task)
        return
    if predictor is None:
        yield skipped("prediction", "the model is not loaded")
        return
    request = PredictRequest(
        tasks=(task,),
        label_config=project.label_config,
        project=str(project.id),
        is_interactive=False,
    )
    started = time.monotonic()
    with _overheard() as messages:
        try:
            (answer,) = predictor.predict(request, access)
        except (SegmenterError, BadLabelConfig) as error:
            yield problem_of("prediction", error)
            return
    yield _judge(answer, config, time.monotonic() - started, messages)


def _ask_running(
    running: RunningBackend, project: Project, config: LabelConfig, task: Task
) -> Finding:
    """Have the backend that runs predict the task."""
    started = time.monotonic()
    answer = running.predict(task, project)
    if isinstance(answer, str):
        return problem(
            "prediction",
            f"the backend at {running.url} gives none: {answer}",
            "See the backend's log. To try with a model of its own, add --load.",
        )
    # Why a task has none, or an empty one, its log alone tells.
    place = f"The backend at {running.url} answered: its log has more."
    return _judge(answer, config, time.monotonic() - started, [place])


def _read_images(
    task: Task, config: LabelConfig, fetcher: ImageFetcher, access: LabelStudioAccess
) -> Iterator[Finding]:
    """Read the task's images as a prediction would."""
    started = time.monotonic()
    read: list[str] = []
    is_slow = False

    def fetch(job: Job) -> FetchedImage:
        return fetcher.fetch(job.address, access=access, task_id=task.id)

    with Prefetcher([task], lambda task: config.for_task(task.data), fetch) as images:
        while not images.is_empty:
            for broken in images.take_failed():
                yield from (problem_of("image", error) for error in broken.failures)
            for result in images.take_results(_RETRY_FOR_S):
                if isinstance(result.image, Exception):
                    yield problem_of("image", result.image)
                else:
                    read.append(_describe_image(result.job, result.image))
                    is_slow |= _has_slow_bitmasks(result.job, result.image)
    if is_slow:
        yield warning(
            "image",
            f"task {task.id}: bitmasks of this size open slowly in the editor",
            f"Several of 12 megapixels take about three times as long as brushes or "
            f"polygons, half a minute and more: under {EDITOR} write <BrushLabels> or "
            f"<PolygonLabels>, or use smaller copies.",
        )
    if read:
        count = f"{len(read)} image{'s' if len(read) > 1 else ''}"
        yield ok(
            "image",
            f"task {task.id}: {count} read in {time.monotonic() - started:.2f} s",
            *read[:_IMAGES_SHOWN],
        )


def _has_slow_bitmasks(job: Job, image: FetchedImage) -> bool:
    rows, columns = image.pixels.shape[:2]
    draws = {control.shape for control in job.controls}
    return "bitmask" in draws and rows * columns > _SLOW_BITMASK_PIXELS


def _describe_image(job: Job, image: FetchedImage) -> str:
    rows, columns = image.pixels.shape[:2]
    return f"{shorten(job.address)}, {columns} x {rows} pixels"


def _judge(
    answer: Any, config: LabelConfig, seconds: float, messages: Sequence[str]
) -> Finding:
    subject = "prediction"
    if not isinstance(answer, dict):
        return problem(
            subject,
            "the task could not be answered",
            "Correct what the backend's log says:",
            *messages,
        )
    faults = config.problems(answer)
    if faults:
        return problem(
            subject,
            "Label Studio's strict validation refuses the regions",
            "This is a mistake of the backend: report it with the label config.",
            *faults,
        )
    regions = [region for region in answer["result"] if isinstance(region, Mapping)]
    if not regions:
        return warning(
            subject,
            f"nothing was found, in {seconds:.1f} s",
            f'Under {EDITOR} lower the threshold (model_score_threshold="0.4" on the '
            f'control) or change a prompt (model_prompt="..." on a <Label>).',
            *messages,
        )
    count = len({region["id"] for region in regions})
    return ok(
        subject,
        f"{count} region{'s' if count > 1 else ''} in {seconds:.1f} s, and Label "
        f"Studio's strict validation accepts them; nothing was stored",
        *_score_lines(regions),
    )


def _score_lines(regions: Sequence[Mapping[str, Any]]) -> list[str]:
    """The best score of each label."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for region in regions:
        for key, names in region["value"].items():
            if key.endswith("labels"):
                scores[", ".join(names)].append(float(region.get("score") or 0))
    return [
        f"{name!r}: {len(found)}, best score {max(found):.2f}"
        for name, found in scores.items()
    ]


class _Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextlib.contextmanager
def _overheard() -> Iterator[list[str]]:
    """What the backend logs meanwhile, which then is logged nowhere else."""
    log, messages = logging.getLogger("backend"), _Messages()
    level, propagate = log.level, log.propagate
    log.addHandler(messages)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield messages.texts
    finally:
        log.removeHandler(messages)
        log.setLevel(level)
        log.propagate = propagate
