"""One event in, what it teaches in the store: the order of the steps.

What was answered, what became of it, examples, store. The same event may come twice, or
after a later one: the store then is as it would be otherwise.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from backend.errors import (
    BackendError,
    BadLabelConfig,
    FeedbackUnavailable,
    LabelStudioRefusal,
    LabelStudioUnavailable,
)
from backend.feedback.answers import AnswerLog
from backend.feedback.corrections import read_annotation
from backend.feedback.events import Event
from backend.feedback.examples import ExampleMaker, Examples
from backend.feedback.store import FeedbackStore
from backend.feedback.types import Correction
from backend.inference import Predictor
from backend.label_config import read_label_config
from backend.label_studio import LabelStudioClient, ProjectTasks
from backend.types import Control, LabelStudioAccess

logger = logging.getLogger(__name__)

OURS: Final = "diffsegmenter-"

Results = Sequence[Mapping[str, Any]]


def _leave_alone(project: str) -> None:
    """Let what was learned be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """Works on events, whoever has taken them in. Any thread may call.

    Attributes:
        store: of corrections.
        predictor: reads images and makes maps.
        answers: what was answered lately.
        access_of: how to reach the Label Studio that an event is of.
        note_change: told of a project whose corrections have changed.
        teach: told of a project whose people want what they corrected to count.
    """

    store: FeedbackStore
    predictor: Predictor
    answers: AnswerLog
    access_of: Callable[[Event], LabelStudioAccess]
    note_change: Callable[[str], object] = _leave_alone
    teach: Callable[[str], object] = _leave_alone

    def work_on(self, event: Event) -> str | None:
        """Do what an event asks for.

        Returns:
            None where nothing is left to do; else what to try again later for.

        Raises:
            FeedbackUnavailable: if the store cannot be used.
        """
        if event.kind == "train":
            self.teach(event.project)
            return None
        if event.kind == "deleted":
            self.store.forget(event.project, event.deleted)
            self.note_change(event.project)
            return None
        return self._learn(event)

    def _learn(self, event: Event) -> str | None:
        held = self.store.correction(event.project, event.annotation)
        found = Correction(
            project=event.project,
            task=str(event.task_id),
            annotation=event.annotation,
            updated_at=event.updated_at,
            is_skipped=event.is_skipped,
            lead_time_s=event.lead_time_s,
        )
        if held is not None and held.rank > found.rank:
            return None  # a later event has come before
        missing = None
        if not event.is_skipped:
            controls = self._controls(event)
            if not controls:
                return None
            model = self.predictor.scorer.maps_name(controls[0].mode)
            if held is not None and held.rank == found.rank and held.model == model:
                return None  # sent twice
            found, missing = self._read(event, found, controls)
        if found != held:
            self.store.put(found)
            # An image that can be read later changes nothing of what was submitted.
            if held is None or held.updated_at != found.updated_at:
                for outcome in found.outcomes:
                    metrics = self.predictor.metrics
                    metrics.judged_regions.labels(outcome.kind).inc()
            self.note_change(event.project)
            logger.info("%s: %s", _named(event), _described(found))
        return missing

    def _controls(self, event: Event) -> tuple[Control, ...]:
        """What we draw with on the task's images; nothing where that cannot be said."""
        try:
            config = read_label_config(event.label_config, self.predictor.defaults)
            return config.for_task(event.data)
        except BackendError as error:
            # Of a label config the refusal shows one that works.
            reason = str(error).partition(". One that works")[0]
            kind = "label config" if isinstance(error, BadLabelConfig) else "task"
            logger.warning(
                "%s teaches nothing, because of its %s: %s", _named(event), kind, reason
            )
            return ()

    def _read(
        self, event: Event, found: Correction, controls: Sequence[Control]
    ) -> tuple[Correction, str | None]:
        """The correction, and what is missing of it now."""
        access = self.access_of(event)
        answered, missing = self._answered(event, access)
        reading = read_annotation(event.result, controls, answered, name=_named(event))
        try:
            maker = ExampleMaker(predictor=self.predictor)
            examples = maker.make(event.task, controls, reading.drawings, access)
        except FeedbackUnavailable:
            raise
        except BackendError as error:
            logger.warning("%s gives no example: %s", _named(event), error)
            model = self.predictor.scorer.maps_name(controls[0].mode)
            examples = Examples(model=model)
        missing = examples.missing or missing
        correction = replace(
            found,
            outcomes=reading.outcomes,
            examples=examples.packed,
            image_digests=examples.image_digests,
            model=examples.model,
            is_pending=missing is not None,
            had_predictions=bool(answered),
        )
        return correction, missing

    def _answered(
        self, event: Event, access: LabelStudioAccess
    ) -> tuple[Results, str | None]:
        """The regions that the annotation began with, and what is missing to tell."""
        if event.tells_parent and event.parent_prediction is None:
            return (), None  # drawn from scratch
        kept = self.answers.get(event.project, event.task_id)
        if kept is not None:
            return (() if _is_of_others(event, kept) else kept), None
        # An address that anybody may have told is not asked with a token.
        can_ask = access.from_environment and access.url and access.token
        if event.parent_prediction is None or not can_ask:
            return (), None
        tasks = ProjectTasks(
            LabelStudioClient(access), int(event.project), retry_for_s=0
        )
        try:
            row = tasks.prediction(event.parent_prediction) or {}
        except LabelStudioUnavailable as error:
            return (), str(error)
        except LabelStudioRefusal as error:
            logger.info("%s: %s", _named(event), error)
            return (), None
        is_ours = str(row.get("model_version")).startswith(OURS)
        results = row.get("result") if is_ours else None
        return (results if isinstance(results, list) else ()), None


def _is_of_others(event: Event, kept: Results) -> bool:
    """Whether it began with another backend's prediction, not with the one we made."""
    ours = {result.get("id") for result in kept}
    began = {
        result.get("id")
        for result in event.result
        if result.get("origin") in ("prediction", "prediction-changed")
    }
    return bool(began) and not began & ours


def _named(event: Event) -> str:
    return f"Project {event.project}: annotation {event.annotation}"


def _described(correction: Correction) -> str:
    if correction.is_skipped:
        return "skipped; it teaches nothing."
    pending = "; its image is still to be read" if correction.is_pending else ""
    return (
        f"{len(correction.outcomes)} regions, {len(correction.examples)} examples"
        f"{pending}."
    )
