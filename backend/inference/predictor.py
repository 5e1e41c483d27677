"""A parsed request in, Label Studio predictions out, within a budget of time.

Who may be answered now, and what is said where nothing can be. What goes wrong with
one task is answered with an empty list for that task, so that Label Studio asks for it
again; how a task gets its prediction is in `pipeline.py`.
"""

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

from backend.cache import FinishedStore
from backend.errors import BadLabelConfig
from backend.inference.batcher import DeadlineExceeded
from backend.inference.clicked_object import NoAnswer
from backend.inference.clicks import ClickAnswerer, Question
from backend.inference.metrics import Metrics
from backend.inference.pipeline import Fetcher, Pipeline, Run, TaskOutcome
from backend.inference.plan import Plan, Taught, nothing_taught
from backend.inference.reading_ahead import Background, ReadingAhead
from backend.inference.recent_answers import RecentAnswers
from backend.inference.scorer import Scorer, Segmenter
from backend.label_config import LabelConfig, read_label_config
from backend.label_studio import ClickRequest, PredictRequest
from backend.regions import prediction
from backend.types import (
    ControlDefaults,
    LabelStudioAccess,
    Task,
    TypedPrompt,
)
from segmenter import Heads, Mode

logger = logging.getLogger(__name__)

# Share of the budget that may pass beyond it, to draw what the model was at work on.
_GRACE_01: Final = 0.1
# Of work that nobody waits for; requests have rank 0.
_ranks: Final = itertools.count(1)

# Read, a label takes some kilobytes.
_CONFIGS_KEPT: Final = 64
_LONGEST_KEPT: Final = 1 << 16

Answer = dict[str, Any] | list[Any]


def _forget(
    tasks: Sequence[Task], request: PredictRequest, access: LabelStudioAccess
) -> None:
    """Leave tasks to whoever asks again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """Answers predict requests.

    Attributes:
        segmenter: gives the loaded segmenter within so many seconds, or raises
            `DeadlineExceeded`; may load it first, and may raise `WeightsNotFound`.
        fetcher: reads task images.
        scorer: makes score maps.
        metrics: counters.
        version_of: the model version of a fingerprint of all that a project changes:
            its label config and what was learned of its labels; "" for neither.
        defaults: what holds for a control of a label config that does not say.
        budget_s: seconds after which the rest of a request's tasks is left.
        clock: monotonic seconds.
        on_timeout: told which tasks a request had no time for.
        max_concurrent: bounds how many requests are answered at a time. The others
            wait for as long as their budget lasts.
        max_pending: bounds how many requests are answered or wait, so that the server
            has threads left for `/health`. More of them get empty answers at once,
            and their tasks go to `on_timeout`.
        background: reads what somebody is likely to click on.
        taught: what was learned of a project's labels, None for nothing.
        finished: regions that were drawn before; None draws all anew.
    """

    segmenter: Callable[[float], Segmenter]
    fetcher: Fetcher
    scorer: Scorer
    metrics: Metrics
    version_of: Callable[[str], str]
    defaults: ControlDefaults
    budget_s: float
    clock: Callable[[], float] = time.monotonic
    on_timeout: Callable[[Sequence[Task], PredictRequest, LabelStudioAccess], None] = (
        _forget
    )
    max_concurrent: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(8)
    )
    max_pending: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(128)
    )
    background: Background = field(default_factory=Background)
    taught: Callable[[str | None], Taught | None] = nothing_taught
    finished: FinishedStore | None = None

    def plan(self, label_config: str, project: str | None = None) -> Plan:
        """How a project is predicted now.

        Args:
            label_config: labeling XML.
            project: Label Studio's name or number of it; None for any, of whose labels
                nothing was learned.

        Raises:
            BadLabelConfig: if the config has nothing to segment.
        """
        config = self._read(label_config)
        taught = self.taught(project)
        heads: dict[Mode, Heads] = {}
        if taught is not None:
            for mode in {control.mode for control in config.controls}:
                if self.scorer.maps_name(mode) == taught.maps_name:
                    heads[mode] = taught.heads
        told = config.fingerprint
        if heads and taught is not None:
            told += f":{taught.heads.fingerprint}"
        return Plan(config=config, version=self.version_of(told), heads=heads)

    def model_version(self, label_config: str, project: str | None = None) -> str:
        """The version of all predictions of a project.

        A changed label, prompt or threshold changes it, so that Label Studio asks
        anew, and so does what is learned. A config that cannot be predicted has the
        version of none.
        """
        try:
            return self.plan(label_config, project).version
        except BadLabelConfig:
            return self.version_of("")

    def setup_version(self, label_config: str, project: str | None) -> str:
        """The same, for `/setup`; says why a project cannot be predicted yet.

        A project may get its labels after its backend: a refusal would keep it from
        being connected at all.
        """
        try:
            return self.plan(label_config, project).version
        except BadLabelConfig as error:
            logger.warning("Project %s cannot be predicted yet: %s", project, error)
            return self.version_of("")

    @property
    def queue_name(self) -> str:
        """The same for all who would make the same predictions of any config.

        Of the model and its options, and of what holds where a config does not say.
        """
        name = self.version_of(f"jobs of {self.defaults!r}")
        return name.replace("diffsegmenter-", "diffsegmenter-jobs-", 1)

    def predict(
        self, request: PredictRequest, access: LabelStudioAccess
    ) -> list[Answer]:
        """One answer per task, in order: a prediction, or [] where it failed.

        A question of the editor is answered with what was asked for and nothing else:
        other regions of the pre-annotation would take the place of what somebody has
        corrected.

        Raises:
            BadLabelConfig: if the config has nothing to segment.
            WeightsNotFound: if the model cannot be loaded.
        """
        if request.is_interactive and request.typed is None:
            try:
                first = self._answer_question(request, access)
            except NoAnswer as reason:
                return self._without_regions(request, f"{request.asked_with}: {reason}")
            # Label Studio asks of one task; others were not clicked on.
            return [first, *([] for _ in request.tasks[1:])]
        deadline = self.clock() + self.budget_s
        plan = self.plan(request.label_config, request.project)
        if request.typed and (why := _why_not(request.typed, plan.config)):
            return self._without_regions(request, why)
        for note in (*plan.config.notes, *plan.config.inputs):
            logger.info("Project %s: %s", request.project, note)
        answers: list[Answer | None] = [
            None if request.typed else self._pipeline.known_answer(task, plan, access)
            for task in request.tasks
        ]
        if all(answers):
            return [answer or [] for answer in answers]
        unknown = [place for place, answer in enumerate(answers) if answer is None]
        with self._admission() as has_slot:
            segmenter = self._segmenter_until(deadline) if has_slot else None
            if segmenter is not None:
                run = Run(
                    plan=plan,
                    access=access,
                    segmenter=segmenter,
                    deadline=deadline,
                    # Somebody has opened this task and looks at it.
                    is_urgent=len(request.tasks) == 1,
                    typed=request.typed,
                    occasion=uuid.uuid4().hex if request.typed else None,
                )
                left_tasks = [request.tasks[place] for place in unknown]
                for outcome in self._pipeline.outcomes(left_tasks, run):
                    answers[unknown[outcome.index]] = outcome.prediction or []
        left = [
            task
            for task, answer in zip(request.tasks, answers, strict=True)
            if answer is None
        ]
        if left:
            self._count_timed_out(len(left), len(answers))
            # What was typed is not what would be computed ahead.
            if request.typed is None:
                self.on_timeout(left, request, access)
        if request.is_interactive:
            empty = prediction([], model_version=plan.version, score=0)
            return [answer or empty for answer in answers]
        return [answer or [] for answer in answers]

    def _answer_question(
        self, request: PredictRequest, access: LabelStudioAccess
    ) -> Answer:
        """The region that clicks or boxes ask for.

        Raises:
            NoAnswer: if there is none.
        """
        if request.clicks is None and not request.is_prewarm:
            raise NoAnswer("only clicks, boxes and typed texts are understood")
        try:
            plan = self.plan(request.label_config, request.project)
        except BadLabelConfig as error:
            raise NoAnswer(str(error).partition(". One that works")[0]) from None
        ahead = ReadingAhead(
            fetcher=self.fetcher,
            scorer=self.scorer,
            segmenter=self.segmenter,
            budget_s=self.budget_s,
            background=self.background,
        )
        if request.is_prewarm or request.clicks is None:
            ahead.read(request.tasks[0], plan, access)
            raise NoAnswer("the task's pictures are read ahead")
        if not self.max_pending.acquire(blocking=False):
            raise NoAnswer("too many requests wait already")
        try:
            return self._click(request, request.clicks, plan, access, ahead)
        finally:
            self.max_pending.release()

    def _click(
        self,
        request: PredictRequest,
        clicks: ClickRequest,
        plan: Plan,
        access: LabelStudioAccess,
        ahead: ReadingAhead,
    ) -> Answer:
        deadline = self.clock() + self.budget_s
        answerer = ClickAnswerer(
            fetcher=self.fetcher,
            scorer=self.scorer,
            recent=RecentAnswers(self.scorer.cache),
            read_features=ahead.read,
        )
        asked = Question(
            task=request.tasks[0],
            clicks=clicks,
            plan=plan,
            project=request.project,
            access=access,
        )
        return answerer.answer(
            asked, lambda: self.segmenter(deadline - self.clock()), deadline
        )

    def _without_regions(self, request: PredictRequest, why: str) -> list[Answer]:
        """An answer of the editor's question that changes nothing there."""
        logger.info(
            "Project %s: the editor's question is answered without regions (%s).",
            request.project,
            why,
        )
        version = self.model_version(request.label_config, request.project)
        return [prediction([], model_version=version, score=0) for _ in request.tasks]

    def _segmenter_until(self, deadline: float) -> Segmenter | None:
        """The model, None if it is still loading at the deadline.

        The caller waits for the loading as well: it counts into the budget.
        """
        try:
            return self.segmenter(deadline - self.clock())
        except DeadlineExceeded:
            return None

    @contextmanager
    def _admission(self) -> Iterator[bool]:
        """Take a seat and wait for a slot; False if there is none in time."""
        if not self.max_pending.acquire(blocking=False):
            yield False
            return
        try:
            if not self.max_concurrent.acquire(timeout=self.budget_s):
                yield False
                return
            try:
                yield True
            finally:
                self.max_concurrent.release()
        finally:
            self.max_pending.release()

    def predict_in_background(
        self,
        tasks: Sequence[Task],
        plan: Plan,
        access: LabelStudioAccess,
        *,
        limit_s: float,
        stop: threading.Event | None = None,
    ) -> Generator[TaskOutcome, None, None]:
        """Predict tasks that nobody waits for; requests go before them.

        Args:
            tasks: any number; as many are under way as make a good batch.
            plan: how their project is predicted.
            access: how to reach Label Studio's images.
            limit_s: after which nothing new is begun.
            stop: after which neither, once it is set.

        Returns:
            Outcomes in the order in which they get ready; none for tasks that no
            time was left for. Closing the iterator stops the work.

        Raises:
            WeightsNotFound: if the model cannot be loaded.
        """
        deadline = self.clock() + limit_s
        segmenter = self._segmenter_until(deadline)
        if segmenter is None:
            return
        run = Run(
            plan=plan,
            access=access,
            segmenter=segmenter,
            deadline=deadline,
            # What was begun first is done first: of two chunks of a worker one can be
            # stored while the model is at the other.
            rank=next(_ranks),
            stop=stop or threading.Event(),
        )
        yield from self._pipeline.outcomes(tasks, run)

    @cached_property
    def _read(self) -> Callable[[str], LabelConfig]:
        """Reads label configs, and keeps the last: each request brings its own."""

        def read(label_config: str) -> LabelConfig:
            return read_label_config(label_config, self.defaults)

        kept = lru_cache(maxsize=_CONFIGS_KEPT)(read)
        return lambda text: (kept if len(text) <= _LONGEST_KEPT else read)(text)

    @property
    def _pipeline(self) -> Pipeline:
        return Pipeline(
            fetcher=self.fetcher,
            scorer=self.scorer,
            metrics=self.metrics,
            clock=self.clock,
            grace_s=_GRACE_01 * self.budget_s,
            finished=self.finished,
        )

    def _count_timed_out(self, left: int, total: int) -> None:
        self.metrics.tasks.labels("out_of_time").inc(left)
        logger.warning(
            "Timed out after %.0f s: %d of %d tasks are not predicted yet. Send the "
            "request again (finished results are cached), or fewer tasks at once.",
            self.budget_s,
            left,
            total,
        )


def _why_not(typed: TypedPrompt, config: LabelConfig) -> str | None:
    """Why a typed text is not looked for, None if it is."""
    if typed.from_name not in config.text_areas:
        return f"the label config has no <TextArea> {typed.from_name!r} for prompts"
    images = {control.image.name for control in config.controls}
    if typed.to_name not in images:
        return f"{typed.from_name!r} is about {typed.to_name!r}, which is not drawn on"
    return None
