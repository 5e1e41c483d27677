"""Our predictions under label-studio-ml's roof: for teams that run its launcher.

Their `model.py` needs one line, `from backend.label_studio_ml import DiffSegmenter`.
Written for 1.0.9, the last release on PyPI, and for the 2.x of the library's
repository. All work is done by the services behind `diffsegmenter serve`; this file
translates, and keeps three habits of 1.x from doing harm:

* It has one model for all projects, made at the last `/setup`, and tells `predict`
  neither project nor label config. Both are read from the Flask request instead.
* Its `/setup` answers a version of its own, and another one after every annotation,
  so that Label Studio would ask for the same predictions for ever.
* It starts a process, torch included, for every annotation, where ours are learned from
  by a thread.

2.x passes on most events, and says of a deletion that it does not know it.
"""

import functools
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flask import Flask, Response, has_request_context, jsonify, request

from backend.engine import build_engine
from backend.feedback import FeedbackLoop
from backend.inference import Answer, Predictor
from backend.label_studio import LabelStudioConnections, parse_predict, parse_setup
from backend.server.wsgi import build_backlog, build_feedback
from backend.settings import Settings, is_loopback

try:
    from label_studio_ml import api, model
except ImportError as error:
    raise ImportError(
        f"backend.label_studio_ml needs the library label-studio-ml and what that "
        f"imports ({error}). Install it with `pip install --no-deps "
        f"label-studio-ml==1.0.9` and `pip install colorama label-studio-tools redis "
        f"rq`, or do without it: `diffsegmenter serve` needs no launcher."
    ) from error

logger = logging.getLogger(__name__)

# In 1.x alone: makes the model and keeps it between requests.
_manager: Final[Any] = getattr(model, "LabelStudioMLManager", None)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Backend:
    """What all models of one process share."""

    predictor: Predictor
    connections: LabelStudioConnections
    feedback: FeedbackLoop | None


class DiffSegmenter(model.LabelStudioMLBase):  # type: ignore[misc]
    """Masks for every label of a project's label config.

    Set by the same environment variables as `diffsegmenter serve`. Cheap to make:
    weights are loaded once per process, in the background.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the library gives, and learn where Label Studio is.

        Raises:
            SettingsError: if environment variables have impossible values.
            WeightsNotFound: if MODEL cannot be a model.
        """
        super().__init__(*args, **kwargs)
        _backend().connections.register(parse_setup(_request_body()))

    def setup(self) -> None:
        """Name the version that `/setup` answers; the constructor of 2.x calls it."""
        project = _text_of(_request_body().get("project")) or _text_of(
            getattr(self, "project_id", None)
        )
        self.set("model_version", _model_version(self.label_config or "", project))

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Answer]:
        """Answer as `/predict` of `diffsegmenter serve` does.

        Args:
            tasks: Label Studio's tasks.
            context: what an annotator drew, when one waits for the answer.
            kwargs: a login and password that nothing here needs.

        Returns:
            One element per task, in order: a prediction, or [] where it failed. Both
            generations pass that on, and Label Studio then asks for the task again.

        Raises:
            BadRequest: if there are no tasks, or no label config.
            BadLabelConfig: if the config has nothing to segment.
            WeightsNotFound: if the model cannot be loaded.
        """
        body = _request_body()
        asked = parse_predict(
            {
                "tasks": list(tasks),
                "label_config": body.get("label_config") or self.label_config,
                "project": body.get("project"),
                "params": {"context": context},
            }
        )
        backend = _backend()
        access = backend.connections.get(asked.project)
        answers = backend.predictor.predict(asked, access)
        if backend.feedback is not None:
            backend.feedback.note_answers(asked, answers)
        return answers

    def fit(
        self, event: Any, data: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, str]:
        """Learn from what `/webhook` of `diffsegmenter serve` would learn from.

        Args:
            event: Label Studio's name for it, such as "ANNOTATION_CREATED".
            data: the rest of what it sends.
            args: what 1.x hands to those who train.
            kwargs: the same.

        Returns:
            Whether it was accepted, at once; it is worked on behind.
        """
        rest = data if isinstance(data, Mapping) else {}
        return _take_in({**rest, "action": event})


def _request_body() -> Mapping[str, Any]:
    """The JSON object that Label Studio sent; empty outside of a request."""
    body = request.get_json(silent=True) if has_request_context() else None
    return body if isinstance(body, Mapping) else {}


def _model_version(label_config: str, project: str | None) -> str:
    """The version that the project's predictions have as well."""
    return _backend().predictor.model_version(label_config, project)


def _text_of(project: Any) -> str | None:
    """Label Studio's name or number of a project; a webhook has an object there."""
    return str(project) if isinstance(project, str | int) and project else None


def _take_in(event: Mapping[str, Any]) -> dict[str, str]:
    feedback = _backend().feedback
    is_ours = feedback is not None and feedback.accept(event)
    return {"status": "accepted" if is_ours else "ignored"}


_making = threading.Lock()


def _backend() -> _Backend:
    """The process's own, made at its first request.

    Not on import: CUDA does not survive the fork of a server that loads the
    application first (`gunicorn --preload`, as 1.x recommends).
    """
    with _making:
        return _make_backend()


@functools.cache
def _make_backend() -> _Backend:
    settings = Settings.from_env()
    engine = build_engine(settings)
    if _manager is not None and settings.basic_auth_user:
        logger.error(
            "BASIC_AUTH_USER is set, but label-studio-ml 1.x asks nobody for a "
            "password. Let a proxy ask, or run `diffsegmenter serve`."
        )
    engine.segmenter.load_in_background()
    # The launcher decides where to listen, and no variable of ours says so.
    listens_on = request.environ.get("SERVER_NAME", "") if has_request_context() else ""
    connections = LabelStudioConnections(
        settings.label_studio, trusts_setup=is_loopback(listens_on)
    )
    backlog = build_backlog(settings, engine)
    backlog.start()
    feedback = build_feedback(engine, connections, backlog)
    if feedback is not None:
        feedback.start()
    predictor = replace(engine.predictor, on_timeout=backlog.precompute)
    return _Backend(predictor=predictor, connections=connections, feedback=feedback)


def _serves_us() -> bool:
    served = api.MODEL_CLASS if _manager is None else _manager.model_class
    return issubclass(served, DiffSegmenter)


def _mend(server: Flask) -> None:
    """Take events in before the library leaves them out, or starts a process."""

    @server.before_request
    def take_events_in() -> Response | None:
        if request.path != "/webhook" or not _serves_us():
            return None
        return jsonify(_take_in(_request_body()))


def _mend_setup(server: Flask) -> None:
    """Correct what 1.x answers to `/setup`, when it serves us."""

    @server.after_request
    def answer_our_version(response: Response) -> Response:
        if request.path != "/setup" or response.status_code != 200 or not _serves_us():
            return response
        told = parse_setup(_request_body())
        return jsonify(
            {"model_version": _model_version(told.label_config, told.project)}
        )


_mend(api._server)
if _manager is not None:
    _mend_setup(api._server)
