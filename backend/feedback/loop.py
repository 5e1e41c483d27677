"""What a process needs to learn behind its requests, put together."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backend.cache import Cache
from backend.errors import FeedbackUnavailable
from backend.feedback.answers import AnswerLog
from backend.feedback.events import Event
from backend.feedback.intake import EventWorker, Intake
from backend.feedback.learner import Learner
from backend.feedback.store import FeedbackStore
from backend.feedback.teaching import Teacher
from backend.inference import Predictor
from backend.label_studio import PredictRequest
from backend.types import LabelStudioAccess


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedbackLoop:
    """Takes webhooks in, remembers answers, and works on events in the background.

    Attributes:
        learner: works on events.
        intake: of webhooks.
        worker: the thread.
    """

    learner: Learner
    intake: Intake
    worker: EventWorker

    @classmethod
    def build(
        cls,
        *,
        store: FeedbackStore,
        teacher: Teacher,
        predictor: Predictor,
        cache: Cache,
        access_of: Callable[[Event], LabelStudioAccess],
        has_others: Callable[[], bool] = lambda: False,
    ) -> "FeedbackLoop":
        """Put it together; nothing is reached for, and no thread begins yet.

        Args:
            store: of corrections and events.
            teacher: fits what labels learn.
            predictor: reads images and makes maps.
            cache: where answers are remembered.
            access_of: how to reach the Label Studio that an event is of.
            has_others: whether workers are there, who go first.
        """
        learner = Learner(
            store=store,
            predictor=predictor,
            answers=AnswerLog(cache),
            access_of=access_of,
            note_change=teacher.note_change,
            teach=teacher.teach,
        )
        intake = Intake(store, _queue_of(predictor))
        worker = EventWorker(
            store,
            intake.queue,
            learner.work_on,
            intake=intake,
            has_others=has_others,
        )
        return cls(learner=learner, intake=intake, worker=worker)

    def accept(self, payload: Any) -> bool:
        """Take in what a webhook sends; False where it is none of ours."""
        return self.intake.accept(payload)

    def note_answers(self, asked: PredictRequest, answers: list[Any]) -> None:
        """Remember what was answered, to compare it with what becomes of it."""
        self.learner.answers.note(asked, answers)

    def start(self) -> None:
        """Begin with what waits, and with what comes."""
        self.worker.start()

    def stop(self) -> None:
        """Begin nothing more. For signal handlers too."""
        self.worker.stop()

    def finish(self, timeout_s: float) -> None:
        """End what is under way, and store what could not be stored before."""
        self.worker.stop()
        self.worker.join(timeout_s)
        with suppress(FeedbackUnavailable):
            self.intake.store_left()


def _queue_of(predictor: Predictor) -> str:
    """The same for all who read of images what the others do.

    Unlike the queue of jobs it outlasts other thresholds: nothing learned depends on
    them, and what waits would never be found again.
    """
    scorer = predictor.scorer
    names = sorted(scorer.maps_name(mode) for mode in scorer.options)
    return hashlib.sha256(":".join(names).encode()).hexdigest()[:8]
