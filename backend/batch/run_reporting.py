"""What a worker tells a run, and hears of it, through Redis's absences."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import redis

from backend.batch.chunks import Chunk, Report
from backend.batch.run_records import RunRecords

logger = logging.getLogger(__name__)

_LOOK_S: Final = 2.0


class RunIsActive:
    """Whether a run has not been canceled; asks Redis every few seconds."""

    def __init__(
        self, records: RunRecords, run_id: str | None, clock: Callable[[], float]
    ) -> None:
        """Ask the records; a run of None is always active."""
        self._records = records
        self._run_id = run_id
        self._clock = clock
        self._lasts = True
        self._asked_s = float("-inf")

    def __call__(self) -> bool:
        """Say so; what was asked a moment ago is answered from memory."""
        now_s = self._clock()
        if self._run_id is None or now_s - self._asked_s < _LOOK_S:
            return self._lasts
        self._asked_s = now_s
        # While Redis is away, what was begun goes on.
        with suppress(redis.RedisError):
            self._lasts = not self._records.is_canceled(self._run_id)
        return self._lasts


class ProgressReporter:
    """Tells a run what is done; what Redis misses is told again at the end."""

    def __init__(self, records: RunRecords, chunk: Chunk) -> None:
        """Report to the chunk's run, or to the log where it is of none."""
        self._records = records
        self._chunk = chunk
        self._untold: list[Report] = []
        self.n_done = self._n_failed = self._n_gone = 0

    @property
    def what_else(self) -> str:
        """What became of others than those that are done."""
        counts = ((self._n_failed, "failed"), (self._n_gone, "deleted meanwhile"))
        return "".join(f", {count} {what}" for count, what in counts if count)

    def __call__(self, report: Report) -> None:
        """Tell what is done; never raises because of Redis."""
        self.n_done += len(report.done)
        self._n_failed += len(report.failures)
        self._n_gone += len(report.gone)
        try:
            self._tell(report)
        except redis.RedisError as error:
            logger.warning(
                "Progress cannot be reported for now: %s", type(error).__name__
            )
            self._untold.append(report)

    def flush(self) -> None:
        """Tell what Redis has missed.

        Raises:
            redis.RedisError: if it still cannot be told.
        """
        for report in self._untold:
            self._tell(report)

    def _tell(self, report: Report) -> None:
        if self._chunk.run_id is not None:
            self._records.report(
                self._chunk.run_id,
                self._chunk.places_of(report.done),
                report.failures,
                self._chunk.places_of(report.gone),
            )
        elif report.failures:
            logger.warning(
                "Project %s: %d tasks have no prediction; the first: %s",
                self._chunk.project_id,
                len(report.failures),
                next(iter(report.failures.values())),
            )
