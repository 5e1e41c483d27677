"""What one call of `preannotate` or `worker` has at hand, and how it is refused."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Self

import redis
from rich.console import Console
from rich.logging import RichHandler

from backend.batch.chunk_runner import ChunkRunner
from backend.batch.job_queue import JobQueue, queue_connection
from backend.batch.run_records import Progress, RunRecords
from backend.batch.worker import WorkerContext, work_until_stopped
from backend.engine import Engine, build_engine
from backend.errors import LabelStudioRefusal, SettingsError
from backend.feedback import FeedbackLoop
from backend.label_studio import LabelStudioClient, ProjectInfo, ProjectTasks
from backend.settings import Settings

logger = logging.getLogger(__name__)

OUTPUT: Final = Console()
ERRORS: Final = Console(stderr=True)

_RETRY_FOR_S: Final = 180.0
# For the image at hand; an event that is left is taken up by others.
_FEEDBACK_ENDS_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """What one call of the command has at hand."""

    settings: Settings
    engine: Engine
    client: LabelStudioClient
    tasks: ProjectTasks
    info: ProjectInfo
    version: str
    stop: threading.Event

    @classmethod
    def open(cls, project_id: int) -> Self:
        """Read the settings and the project.

        Raises:
            SettingsError, BadLabelConfig, LabelStudioError, SegmenterError: why it
                cannot begin.
        """
        settings = Settings.from_env()
        require(settings, "LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")
        log_beside_the_bar()
        engine = build_engine(settings)
        stop = threading.Event()
        client = LabelStudioClient(settings.label_studio)
        # A Label Studio that is not there at the start is a mistake, mostly.
        info = project_info(ProjectTasks(client, project_id, retry_for_s=0))
        return cls(
            settings=settings,
            engine=engine,
            client=client,
            tasks=ProjectTasks(client, project_id, retry_for_s=_RETRY_FOR_S, stop=stop),
            info=info,
            version=_version_of(engine, info, project_id),
            stop=stop,
        )

    def current_version(self) -> str:
        """What the project's label config gives now, `version` until it is changed.

        Raises:
            BadLabelConfig, LabelStudioError: why none can be told.
        """
        return _version_of(self.engine, self.tasks.info(), self.tasks.project_id)


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended, or was left.

    Attributes:
        progress: the last that was seen.
        failures: why tasks were given up, by task id.
        seconds: that it was watched.
        done_before: tasks that were done when the watching began.
        is_detached: whether it goes on unwatched, or was stopped.
        scope: which tasks it was for, as `RunSpec.scope`.
    """

    progress: Progress
    failures: Mapping[int, str]
    seconds: float
    done_before: int = 0
    is_detached: bool = False
    scope: str = ""


def _version_of(engine: Engine, info: ProjectInfo, project_id: int) -> str:
    """The version of the predictions that an engine makes for a project.

    Raises:
        BadLabelConfig: if it makes none.
    """
    return engine.predictor.plan(info.label_config, str(project_id)).version


def project_info(tasks: ProjectTasks) -> ProjectInfo:
    """The project, or a refusal with what to do about it.

    Raises:
        LabelStudioError: why there is none.
    """
    try:
        return tasks.info()
    except LabelStudioRefusal as refusal:
        remedies = {
            401: "Correct LABEL_STUDIO_API_KEY; `diffsegmenter doctor` knows its kind.",
            404: "The number is in the project's address; the token's user must see "
            "the project.",
        }
        remedy = remedies.get(refusal.status)
        if remedy is None:
            raise
        raise LabelStudioRefusal(f"{refusal} {remedy}", status=refusal.status) from None


def require(settings: Settings, *names: str) -> None:
    """Refuse to go on without these variables.

    Raises:
        SettingsError: naming all that are missing.
    """
    values = {
        "REDIS_URL": settings.redis_url,
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key,
    }
    missing = [name for name in names if values[name] is None]
    if missing:
        uses = {
            "REDIS_URL": "jobs come through Redis, such as redis://localhost:6379/0",
            "LABEL_STUDIO_URL": "projects are read and changed through Label Studio's "
            "API, such as http://localhost:8080",
            "LABEL_STUDIO_API_KEY": "a token of Label Studio opens its API",
        }
        raise SettingsError(
            f"Set {', '.join(missing)}: {'; '.join(uses[name] for name in missing)}."
        )


def connect(settings: Settings) -> redis.Redis:
    """A client for the queue, where REDIS_URL is set."""
    assert settings.redis_url is not None
    return queue_connection(settings.redis_url.get_secret_value())


def queue_of(engine: Engine, connection: redis.Redis) -> JobQueue:
    """The queue of all who would make the same predictions."""
    return JobQueue(connection, engine.predictor.queue_name)


def log_beside_the_bar() -> None:
    """Let warnings about waiting pass above the bar; failures are listed at the end."""
    logging.basicConfig(
        level="ERROR",
        format="%(message)s",
        handlers=[RichHandler(console=ERRORS, show_path=False, show_level=False)],
    )
    for name in ("label_studio.retries", "batch.runs", "batch.watcher"):
        logging.getLogger(f"backend.{name}").setLevel("WARNING")


def run_worker(settings: Settings, engine: Engine, *, burst: bool = False) -> None:
    """Do the queue's jobs with this engine until stopped.

    Raises:
        WeightsNotFound: if the model cannot be loaded.
    """
    client = LabelStudioClient(settings.label_studio)
    with closing(connect(settings)) as connection:
        # Now, and not with the first job in hand: without Redis, or without a model,
        # there is none to take.
        connection.ping()
        engine.segmenter.get()
        context = WorkerContext(
            work=ChunkRunner(predictor=engine.predictor, client=client),
            queue=queue_of(engine, connection),
            records=RunRecords(connection),
        )
        logger.info("Ready for jobs of %s.", context.queue.name)
        with _learning(engine, client):
            work_until_stopped(context, burst=burst)


@contextmanager
def _learning(engine: Engine, client: LabelStudioClient) -> Iterator[None]:
    """Learn from corrections, beside the jobs, while the block lasts."""
    if engine.feedback is None or engine.teacher is None:
        yield
        return
    loop = FeedbackLoop.build(
        store=engine.feedback,
        teacher=engine.teacher,
        predictor=engine.predictor,
        cache=engine.cache,
        access_of=lambda event: client.access,
    )
    loop.start()
    try:
        yield
    finally:
        loop.finish(_FEEDBACK_ENDS_S)
