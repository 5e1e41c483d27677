from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.batch.run_records import Progress, RunRecords, jobs_key
from tests.redis_server import RedisServer


@pytest.fixture
def connection(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def records(connection: redis.Redis) -> RunRecords:
    return RunRecords(connection)


def known(records: RunRecords, run_id: str) -> Progress:
    progress = records.progress(run_id)
    assert progress is not None
    return progress


def test_begin_makes_the_run_its_projects_current_one(records: RunRecords) -> None:
    first = records.begin(7, "v", "all")
    second = records.begin(7, "v", "all")

    assert first != second
    assert records.current(7) == second
    assert records.current(8) is None
    assert known(records, second) == Progress(version="v", scope="all")


def test_a_run_that_others_follow_is_kept_for_a_while_only(
    records: RunRecords, connection: redis.Redis
) -> None:
    first = records.begin(7, "v", "all")
    records.begin(7, "v", "all")

    lasting = f"diffsegmenter:run:{records.current(7)}"
    assert connection.ttl(f"diffsegmenter:run:{first}") > 24 * 3600
    assert connection.ttl(lasting) == -1
    assert records.progress(first) is not None


def test_extend_gives_places_one_after_the_other(records: RunRecords) -> None:
    run_id = records.begin(7, "v", "all")

    places = [records.extend(run_id, 3, 30), records.extend(run_id, 2, 50)]

    assert places == [0, 3]
    progress = known(records, run_id)
    assert (progress.total, progress.listed_to) == (5, 50)
    assert not progress.is_listed


def test_report_counts_what_is_told_twice_once(records: RunRecords) -> None:
    run_id = records.begin(7, "v", "all")
    records.extend(run_id, 4, 0)

    for _ in range(2):
        records.report(run_id, [0, 2], {11: "no image"})

    progress = known(records, run_id)
    assert (progress.done, progress.failed, progress.missing) == (2, 1, 1)
    assert records.failures(run_id) == {11: "no image"}


def test_report_takes_the_last_reason_and_any_text(records: RunRecords) -> None:
    run_id = records.begin(7, "v", "all")

    records.report(run_id, (), {11: "first"})
    records.report(run_id, (), {11: "Größe \N{SNOWMAN} \x00\n", 12: ""})

    assert records.failures(run_id) == {11: "Größe \N{SNOWMAN} \x00\n", 12: ""}


def test_failures_gives_more_than_one_answer_of_redis_holds(
    records: RunRecords,
) -> None:
    run_id = records.begin(7, "v", "all")
    reasons = {task_id: f"reason {task_id}" for task_id in range(3000)}

    records.report(run_id, (), reasons)

    assert records.failures(run_id) == reasons


def test_progress_is_over_when_all_is_listed_and_no_job_is_open(
    records: RunRecords, connection: redis.Redis
) -> None:
    run_id = records.begin(7, "v", "all")
    connection.sadd(jobs_key(run_id), "job")
    seen = [known(records, run_id).is_over]
    records.end_listing(run_id)
    seen.append(known(records, run_id).is_over)

    connection.srem(jobs_key(run_id), "job")

    assert [*seen, known(records, run_id).is_over] == [False, False, True]


def test_cancel_is_seen_by_workers_and_ends_an_unlisted_run(
    records: RunRecords,
) -> None:
    run_id = records.begin(7, "v", "all")
    before = records.is_canceled(run_id)

    records.cancel(run_id)

    assert (before, records.is_canceled(run_id)) == (False, True)
    assert known(records, run_id).is_canceled
    assert known(records, run_id).is_over


def test_a_run_that_redis_forgot_is_none_and_as_good_as_canceled(
    records: RunRecords, connection: redis.Redis
) -> None:
    run_id = records.begin(7, "v", "all")
    connection.flushall()

    assert records.progress(run_id) is None
    assert records.is_canceled(run_id)
    assert records.failures(run_id) == {}
    assert records.current(7) is None


def test_what_is_told_of_a_forgotten_run_does_not_bring_it_back(
    records: RunRecords, connection: redis.Redis
) -> None:
    run_id = records.begin(7, "v", "all")
    connection.flushall()

    records.extend(run_id, 5, 5)
    records.report(run_id, [1], {2: "x"})
    records.end_listing(run_id)
    records.cancel(run_id)

    assert records.progress(run_id) is None


def test_forget_keeps_a_run_for_a_week(
    records: RunRecords, connection: redis.Redis
) -> None:
    run_id = records.begin(7, "v", "all")
    records.extend(run_id, 1, 0)
    records.report(run_id, [0], {1: "x"})

    records.forget(run_id)

    keys = list(connection.scan_iter(f"diffsegmenter:run:{run_id}*"))
    assert len(keys) == 3
    assert all(0 < connection.ttl(key) <= 7 * 24 * 3600 for key in keys)


def test_records_raise_where_redis_cannot_be_used() -> None:
    records = RunRecords(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))

    with pytest.raises(redis.RedisError):
        records.progress("7-ab")


def test_gone_tasks_are_counted_apart_and_are_not_missing(records: RunRecords) -> None:
    run_id = records.begin(7, "v", "all")
    records.extend(run_id, 4, 0)

    for _ in range(2):
        records.report(run_id, [0], {}, [2, 3])

    progress = known(records, run_id)
    assert (progress.done, progress.gone, progress.failed) == (1, 2, 0)
    assert (progress.closed, progress.missing) == (3, 1)


def test_a_run_that_ended_for_a_newer_version_is_not_to_go_on(
    records: RunRecords, connection: redis.Redis
) -> None:
    run_id = records.begin(7, "v", "all")
    connection.sadd(jobs_key(run_id), "job")

    records.end_for_newer(run_id, "w")
    while_a_job_is_open = known(records, run_id)
    connection.srem(jobs_key(run_id), "job")

    assert records.is_canceled(run_id)
    assert while_a_job_is_open.newer_version == "w"
    assert (while_a_job_is_open.is_over, known(records, run_id).is_over) == (
        False,
        True,
    )
