"""Each task gets one prediction, however often Label Studio goes away."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.batch.chunks import Unfinished
from backend.inference import Predictor
from tests.batch_work import NOTHING_LEFT, Reports, assert_each_once, chunk_of, work_of
from tests.fakes import MODEL_VERSION, ColourSegmenter, make_predictor
from tests.label_studio_stand_in import LabelStudioStandIn


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.mark.parametrize("times", [1, 3])
def test_run_stores_once_what_was_stored_by_a_request_whose_answer_got_lost(
    times: int,
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 30)
    studio.lose_answers(method="POST", times=times)

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert_each_once(studio, ids)
    reports.assert_done(ids)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_run_waits_for_a_label_studio_that_restarts(
    method: str,
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 5)
    studio.answer(502, method=method)
    studio.lose_requests(method=method)

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert_each_once(studio, ids)
    reports.assert_done(ids)


def test_run_removes_what_label_studio_itself_stored_while_it_stored(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    first, *_ = ids = studio.add_pictures(project_id, 5)
    theirs: list[int] = []
    studio.before("POST", lambda: theirs.append(studio.store(first, MODEL_VERSION)))

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert_each_once(studio, ids)
    assert list(studio.predictions_of(first)) == theirs
    reports.assert_done(ids)


def test_run_counts_a_task_once_that_others_stored_before_an_outage(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    segmenter: ColourSegmenter,
    project_id: int,
    reports: Reports,
) -> None:
    first, *_ = ids = studio.add_pictures(project_id, 5)
    # Somebody opens the task while the model is at it.
    segmenter.before = lambda pixels: (
        None if studio.versions_of(first) else studio.store(first, MODEL_VERSION)
    )
    studio.answer(503, method="POST", times=2)

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert_each_once(studio, ids)
    reports.assert_done(ids)


def test_run_tells_a_refusal_once_though_an_outage_follows_it(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    bad, *good = ids = studio.add_pictures(project_id, 4)
    studio.complaint_about = lambda row: "bad" if row["task"] == bad else None

    def go_away_after_the_refusal() -> None:
        if studio.n_requests("POST") == 3:
            studio.answer(503, method="POST")

    # All four are refused, the first half is, and its first; then its second is stored.
    studio.before("POST", go_away_after_the_refusal, times=3)

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert_each_once(studio, good)
    reports.assert_done(good)
    assert reports.n_failures == {bad: 1}


def test_two_that_do_the_same_end_at_one_prediction_per_task(
    studio: LabelStudioStandIn, project_id: int
) -> None:
    ids = studio.add_pictures(project_id, 12)
    both_at_once = threading.Barrier(2, timeout=20)
    # Both have looked before either stores.
    studio.before("POST", both_at_once.wait, times=2)  # type: ignore[arg-type]
    told = [Reports(), Reports()]

    def work(reports: Reports) -> Unfinished:
        predictor = make_predictor(ColourSegmenter())
        return work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    with ThreadPoolExecutor(2) as pool:
        leftovers = list(pool.map(work, told))

    assert leftovers == [NOTHING_LEFT, NOTHING_LEFT]
    assert_each_once(studio, ids)
    for reports in told:
        reports.assert_done(ids)


def test_run_leaves_for_later_what_a_label_studio_that_stays_away_cannot_take(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.answer(503, method="POST", times=1000)

    unfinished = work_of(studio, predictor, retry_for_s=0).run(
        chunk_of(project_id, ids), reports
    )

    assert set(unfinished.retry) == set(ids)
    assert "503" in unfinished.retry[ids[0]]
    assert not reports.done
    assert not reports.failures


def test_run_leaves_all_for_later_when_label_studio_is_away_from_the_start(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.answer(503, times=1000)

    unfinished = work_of(studio, predictor, retry_for_s=0).run(
        chunk_of(project_id, ids), reports
    )

    assert set(unfinished.retry) == set(ids)


def test_run_that_is_stopped_while_label_studio_is_away_leaves_tasks_untouched(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    stop = threading.Event()
    studio.answer(503, method="POST", times=1000)
    threading.Timer(0.3, stop.set).start()

    unfinished = work_of(studio, predictor, retry_for_s=600, stop=stop).run(
        chunk_of(project_id, ids), reports
    )

    assert unfinished == Unfinished(retry={}, not_started=ids)
    assert studio.predictions == {}


def test_run_fails_all_that_is_left_when_the_token_is_revoked(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 3)
    studio.answer(401, method="POST")

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert all("401" in reports.failures[task_id] for task_id in ids)


def test_run_leaves_for_later_what_label_studio_took_and_does_not_show(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    hidden, *shown = ids = studio.add_pictures(project_id, 3)

    def lose_one() -> None:
        for prediction_id in studio.predictions_of(hidden):
            del studio.predictions[prediction_id]

    # One look at the project, two before, one before storing; then it is stored.
    studio.before("POST", lambda: studio.before("GET", lose_one))

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert list(unfinished.retry) == [hidden]
    assert "does not show it" in unfinished.retry[hidden]
    reports.assert_done(shown)
