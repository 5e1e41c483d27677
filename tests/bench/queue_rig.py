"""A Label Studio for many runs, projects that no other run has seen, and workers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from subprocess import Popen

from tests.e2e.batches import Batch, picture, running_worker
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.fakes import RED_AND_BLUE
from tests.redis_server import RedisServer


class Rig:
    """A Label Studio, and projects in it that no other run has seen."""

    def __init__(
        self, server: LabelStudio, api: LabelStudioApi, pid: int, folder: Path
    ) -> None:
        self.server, self.api, self.pid, self.folder = server, api, pid, folder
        self._pictures = count()

    def new_batch(self, redis: RedisServer, n_tasks: int) -> Batch:
        """A project of pictures that are new to every cache."""
        project_id = self.api.create_project("batch", RED_AND_BLUE)
        pictures = [picture(next(self._pictures)) for _ in range(n_tasks)]
        self.api.import_many(project_id, [{"image": each} for each in pictures])
        settings = {
            "LABEL_STUDIO_URL": self.server.url,
            "LABEL_STUDIO_API_KEY": self.server.legacy_token,
            "REDIS_URL": redis.url,
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        return Batch(api=self.api, project_id=project_id, environment=settings)

    def worker(
        self, batch: Batch, number: int, sleep_s: float
    ) -> "AbstractContextManager[Popen[bytes]]":
        """A worker process."""
        log_path = self.folder / f"worker-{number}.log"
        return running_worker(batch.environment, log_path=log_path, sleep_s=sleep_s)


@contextmanager
def running_workers(
    rig: Rig, batch: Batch, n_workers: int, sleep_s: float
) -> Iterator[list[int]]:
    """Process ids of workers that take jobs."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(rig.worker(batch, number, sleep_s)).pid
            for number in range(n_workers)
        ]
