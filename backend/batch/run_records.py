"""How far each run of `preannotate` is, in Redis: for whoever watches, from anywhere.

A run numbers its tasks by place, in the order in which they were found. What is done
is a bitmap over places, so that telling the same twice changes nothing: a million
tasks take 125 kB. Whether tasks are done in truth, Label Studio alone knows; when these
records are lost, `preannotate` asks it and begins a new run with what is left.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

_PREFIX: Final = "diffsegmenter:run:"
# Records have no end while a run lasts, so that a full Redis drops cached results and
# not them. A run that is over can still be looked at for a week.
_KEPT_S: Final = 7 * 24 * 3600
_FAILURES_AT_ONCE: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        version: of the predictions that it makes.
        scope: which tasks it is for, as whoever began it put it.
        total: tasks found so far.
        done: tasks that hold such a prediction.
        failed: tasks given up.
        open_jobs: jobs that wait or are at work.
        is_listed: whether all tasks have been found.
        listed_to: id up to which tasks were found, where they are found by id.
        is_canceled: whether somebody called it off.
        waiting_to_retry: tasks that wait for another try, where that is known.
    """

    version: str = ""
    scope: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    open_jobs: int = 0
    is_listed: bool = False
    listed_to: int = 0
    is_canceled: bool = False
    waiting_to_retry: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return (self.is_listed or self.is_canceled) and not self.open_jobs

    @property
    def missing(self) -> int:
        """Tasks neither done nor given up."""
        return max(0, self.total - self.done - self.failed)


class RunRecords:
    """Records of runs. Any process may read and write; nothing is done twice by it.

    Raises `redis.RedisError` where Redis cannot be used.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Use a client that returns bytes."""
        self._client: Any = client

    def begin(self, project_id: int, version: str, scope: str) -> str:
        """Begin a run, which becomes its project's current one; returns its id."""
        run_id = f"{project_id}-{secrets.token_hex(4)}"
        before = self.current(project_id)
        with self._client.pipeline() as pipeline:
            pipeline.hset(
                _key(run_id), mapping={"version": version, "scope": scope, "total": 0}
            )
            pipeline.set(_current_key(project_id), run_id)
            if before is not None:
                _expire(pipeline, before)
            pipeline.execute()
        return run_id

    def current(self, project_id: int) -> str | None:
        """The id of the run that the project had last."""
        run_id = self._client.get(_current_key(project_id))
        return None if run_id is None else str(run_id, "utf-8")

    def extend(self, run_id: str, n_tasks: int, listed_to: int) -> int:
        """Make room for tasks that were found; returns the place of the first.

        Args:
            run_id: of the run.
            n_tasks: how many.
            listed_to: id of the last, where tasks are found by id, else 0.
        """
        with self._client.pipeline() as pipeline:
            pipeline.hincrby(_key(run_id), "total", n_tasks)
            pipeline.hset(_key(run_id), "listed_to", listed_to)
            total, _ = pipeline.execute()
        return int(total) - n_tasks

    def end_listing(self, run_id: str) -> None:
        """Note that all tasks have been found."""
        self._client.hset(_key(run_id), "listed", 1)

    def report(
        self, run_id: str, done: Sequence[int], failures: Mapping[int, str]
    ) -> None:
        """Note what became of tasks.

        Args:
            run_id: of the run.
            done: places of tasks that are done.
            failures: reasons, by task id.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for place in done:
                pipeline.setbit(_key(run_id, "done"), place, 1)
            if failures:
                pipeline.hset(_key(run_id, "failures"), mapping=dict(failures))
            pipeline.execute()

    def progress(self, run_id: str) -> Progress | None:
        """How far the run is; None if there is no such run (any more)."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(_key(run_id))
            pipeline.bitcount(_key(run_id, "done"))
            pipeline.hlen(_key(run_id, "failures"))
            pipeline.scard(jobs_key(run_id))
            fields, done, failed, open_jobs = pipeline.execute()
        if b"version" not in fields:
            return None
        return Progress(
            version=str(fields[b"version"], "utf-8"),
            scope=str(fields.get(b"scope", b""), "utf-8"),
            total=int(fields.get(b"total", 0)),
            done=int(done),
            failed=int(failed),
            open_jobs=int(open_jobs),
            is_listed=b"listed" in fields,
            listed_to=int(fields.get(b"listed_to", 0)),
            is_canceled=b"canceled" in fields,
        )

    def failures(self, run_id: str) -> dict[int, str]:
        """Why tasks were given up, by task id."""
        found = self._client.hscan_iter(
            _key(run_id, "failures"), count=_FAILURES_AT_ONCE
        )
        return {int(task): str(reason, "utf-8", "replace") for task, reason in found}

    def cancel(self, run_id: str) -> None:
        """Call a run off: what is at work ends, what waits is not begun."""
        self._client.hset(_key(run_id), "canceled", 1)

    def is_canceled(self, run_id: str) -> bool:
        """Whether the run was canceled, or is forgotten."""
        version, canceled = self._client.hmget(_key(run_id), "version", "canceled")
        return version is None or canceled is not None

    def forget(self, run_id: str) -> None:
        """Keep a run that is over for a week only."""
        with self._client.pipeline() as pipeline:
            _expire(pipeline, run_id)
            pipeline.execute()


def jobs_key(run_id: str) -> str:
    """The set of the run's jobs that wait or are at work, by job id."""
    return _key(run_id, "jobs")


def _expire(pipeline: Any, run_id: str) -> None:
    for part in ("", "done", "failures", "jobs"):
        pipeline.expire(_key(run_id, part), _KEPT_S)


def _key(run_id: str, part: str = "") -> str:
    return f"{_PREFIX}{run_id}:{part}" if part else _PREFIX + run_id


def _current_key(project_id: int) -> str:
    return f"{_PREFIX}of-project:{project_id}"
