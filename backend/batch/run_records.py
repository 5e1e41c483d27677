"""How far each run of `preannotate` is, in Redis: for whoever watches, from anywhere.

A run numbers its tasks by place, in the order in which they were found. What is done
is a bitmap over places, so that telling the same twice changes nothing: a million
tasks take 125 kB. Whether tasks are done in truth, Label Studio alone knows; when these
records are lost, `preannotate` asks it and begins a new run with what is left.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

_PREFIX: Final = "diffsegmenter:run:"
# Records have no end while a run lasts, so that a full Redis drops cached results and
# not them. A run that is over can still be looked at for a week.
_KEPT_S: Final = 7 * 24 * 3600
_FAILURES_AT_ONCE: Final = 1000
# A process that lists tasks, and was not heard of for so long, has been killed.
_LISTER_TTL_S: Final = 30


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        version: of the predictions that it makes.
        scope: which tasks it is for, as whoever began it put it.
        total: tasks found so far.
        done: tasks that hold such a prediction.
        failed: tasks given up.
        gone: tasks that were deleted from the project meanwhile.
        open_jobs: jobs that wait or are at work.
        is_listed: whether all tasks have been found.
        listed_to: id up to which tasks were found, where they are found by id.
        is_canceled: whether somebody called it off.
        waiting_to_retry: tasks that wait for another try, where that is known.
        retry_in_s: until that try begins, where that is known.
        newer_version: what the project's label config gives since it was changed in
            the middle of the run, which then ends; "" while it is the same.
        lister: who finds the tasks just now; "" where nobody does.
        left: how many more tasks may be found where there is a limit, else None.
        relisted_to: id up to which tasks are left of an earlier run whose records are
            lost, so that they have been counted against the limit already.
    """

    version: str = ""
    scope: str = ""
    total: int = 0
    done: int = 0
    failed: int = 0
    gone: int = 0
    open_jobs: int = 0
    is_listed: bool = False
    listed_to: int = 0
    is_canceled: bool = False
    waiting_to_retry: int = 0
    retry_in_s: float | None = None
    newer_version: str = ""
    lister: str = ""
    left: int | None = None
    relisted_to: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return (self.is_listed or self.is_ended) and not self.open_jobs

    @property
    def is_ended(self) -> bool:
        """Whether what waits is not to be begun."""
        return self.is_canceled or bool(self.newer_version)

    @property
    def closed(self) -> int:
        """Tasks of which nothing more is to come."""
        return self.done + self.failed + self.gone

    @property
    def missing(self) -> int:
        """Tasks neither done, nor given up, nor deleted."""
        return max(0, self.total - self.closed)


class ListingEnded(Exception):
    """This process is not the one any more that finds a run's tasks."""


class RunRecords:
    """Records of runs. Any process may read and write; nothing is done twice by it.

    Raises `redis.RedisError` where Redis cannot be used.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Use a client that returns bytes."""
        self._client: Any = client

    def begin(
        self,
        project_id: int,
        version: str,
        scope: str,
        *,
        goes_on: Callable[[Progress], bool] = lambda progress: False,
        lister: str = "",
        left: int | None = None,
        relisted_to: int = 0,
    ) -> str:
        """Begin a run, which becomes its project's current one; returns its id.

        Of several processes that begin at once, one begins and the others get its run.

        Args:
            project_id: Label Studio's number.
            version: of the predictions to make.
            scope: which tasks it is for.
            goes_on: whether the project's current run will do instead.
            lister: who is to find the tasks of a new run.
            left: see `Progress`.
            relisted_to: see `Progress`.
        """
        run_id = f"{project_id}-{secrets.token_hex(4)}"
        fields = {"version": version, "scope": scope, "total": 0}
        if left is not None:
            fields["left"] = left
        if relisted_to:
            fields["relisted_to"] = relisted_to

        def begin(pipeline: Any) -> str:
            before = self.current(project_id)
            progress = None if before is None else self.progress(before)
            if before is not None and progress is not None and goes_on(progress):
                return before
            pipeline.multi()
            pipeline.hset(_key(run_id), mapping=fields)
            pipeline.set(_current_key(project_id), run_id)
            if lister:
                pipeline.set(_key(run_id, "lister"), lister, ex=_LISTER_TTL_S)
            if before is not None:
                _expire(pipeline, before)
            return run_id

        begun: str = self._client.transaction(
            begin, _current_key(project_id), value_from_callable=True
        )
        return begun

    def current(self, project_id: int) -> str | None:
        """The id of the run that the project had last."""
        run_id = self._client.get(_current_key(project_id))
        return None if run_id is None else str(run_id, "utf-8")

    def take_listing(self, run_id: str, lister: str) -> bool:
        """Become the one who finds the run's tasks; returns whether it is so.

        Lasts for half a minute, see `keep_listing`.
        """
        key = _key(run_id, "lister")
        if self._client.set(key, lister, nx=True, ex=_LISTER_TTL_S):
            return True
        return self.keep_listing(run_id, lister)

    def keep_listing(self, run_id: str, lister: str) -> bool:
        """Be the lister for longer; returns whether it is so still."""
        key = _key(run_id, "lister")
        is_ours = self._client.get(key) == lister.encode()
        return is_ours and bool(self._client.expire(key, _LISTER_TTL_S))

    def end_own_listing(self, run_id: str, lister: str) -> None:
        """Let somebody else list what is left, at once."""
        if self._client.get(_key(run_id, "lister")) == lister.encode():
            self._client.delete(_key(run_id, "lister"))

    def extend(
        self,
        run_id: str,
        n_tasks: int,
        listed_to: int,
        *,
        lister: str = "",
        n_counted: int | None = None,
        is_last: bool = False,
        queue: Callable[[int, Any], None] = lambda place, pipeline: None,
    ) -> int:
        """Make room for tasks that were found, and queue them, all or nothing.

        Args:
            run_id: of the run.
            n_tasks: how many.
            listed_to: id of the last, where tasks are found by id, else 0.
            lister: who found them; "" where nobody else can.
            n_counted: how many of them count against the limit; None for all.
            is_last: whether no more are to be found.
            queue: called with the place of the first and a pipeline, to put what is
                to be done into it. May be called again with other places.

        Returns:
            The place of the first.

        Raises:
            ListingEnded: and nothing is done, if somebody else is the lister now, or
                the run is not to go on.
        """
        key, lister_key = _key(run_id), _key(run_id, "lister")

        def extend(pipeline: Any) -> int:
            total, left, *ends = pipeline.hmget(
                key, "total", "left", "canceled", "newer_version"
            )
            if lister and (any(ends) or pipeline.get(lister_key) != lister.encode()):
                raise ListingEnded(run_id)
            place = int(total or 0)
            pipeline.multi()
            pipeline.hincrby(key, "total", n_tasks)
            pipeline.hset(key, "listed_to", listed_to)
            if left is not None:
                counted = n_tasks if n_counted is None else n_counted
                pipeline.hincrby(key, "left", -counted)
            if is_last:
                pipeline.hset(key, "listed", 1)
            queue(place, pipeline)
            return place

        place: int = self._client.transaction(
            extend, key, lister_key, value_from_callable=True
        )
        return place

    def end_listing(self, run_id: str) -> None:
        """Note that all tasks have been found."""
        self._client.hset(_key(run_id), "listed", 1)

    def report(
        self,
        run_id: str,
        done: Sequence[int],
        failures: Mapping[int, str],
        gone: Sequence[int] = (),
    ) -> None:
        """Note what became of tasks.

        Args:
            run_id: of the run.
            done: places of tasks that are done.
            failures: reasons, by task id.
            gone: places of tasks that were deleted.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for place in done:
                pipeline.setbit(_key(run_id, "done"), place, 1)
            for place in gone:
                pipeline.setbit(_key(run_id, "gone"), place, 1)
            if failures:
                pipeline.hset(_key(run_id, "failures"), mapping=dict(failures))
            pipeline.execute()

    def progress(self, run_id: str) -> Progress | None:
        """How far the run is; None if there is no such run (any more)."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(_key(run_id))
            pipeline.bitcount(_key(run_id, "done"))
            pipeline.bitcount(_key(run_id, "gone"))
            pipeline.hlen(_key(run_id, "failures"))
            pipeline.scard(jobs_key(run_id))
            pipeline.get(_key(run_id, "lister"))
            fields, done, gone, failed, open_jobs, lister = pipeline.execute()
        if b"version" not in fields:
            return None
        return Progress(
            version=str(fields[b"version"], "utf-8"),
            scope=str(fields.get(b"scope", b""), "utf-8"),
            total=int(fields.get(b"total", 0)),
            done=int(done),
            failed=int(failed),
            gone=int(gone),
            open_jobs=int(open_jobs),
            is_listed=b"listed" in fields,
            listed_to=int(fields.get(b"listed_to", 0)),
            is_canceled=b"canceled" in fields,
            newer_version=str(fields.get(b"newer_version", b""), "utf-8"),
            lister=str(lister or b"", "utf-8"),
            left=int(fields[b"left"]) if b"left" in fields else None,
            relisted_to=int(fields.get(b"relisted_to", 0)),
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

    def end_for_newer(self, run_id: str, version: str) -> None:
        """End a run whose project has got another label config: what waits is left.

        Args:
            run_id: of the run.
            version: that predictions have under that label config.
        """
        self._client.hset(_key(run_id), "newer_version", version)

    def is_canceled(self, run_id: str) -> bool:
        """Whether the run is not to go on: ended by somebody, or forgotten."""
        version, *ends = self._client.hmget(
            _key(run_id), "version", "canceled", "newer_version"
        )
        return version is None or any(ends)

    def forget(self, run_id: str) -> None:
        """Keep a run that is over for a week only."""
        with self._client.pipeline() as pipeline:
            _expire(pipeline, run_id)
            pipeline.execute()


def jobs_key(run_id: str) -> str:
    """The set of the run's jobs that wait or are at work, by job id."""
    return _key(run_id, "jobs")


def _expire(pipeline: Any, run_id: str) -> None:
    for part in ("", "done", "gone", "failures", "jobs"):
        pipeline.expire(_key(run_id, part), _KEPT_S)


def _key(run_id: str, part: str = "") -> str:
    return f"{_PREFIX}{run_id}:{part}" if part else _PREFIX + run_id


def _current_key(project_id: int) -> str:
    return f"{_PREFIX}of-project:{project_id}"
