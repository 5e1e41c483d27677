"""What becomes of a chunk while Label Studio is well."""

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from backend.batch.chunks import Unfinished, retry_delay_s
from backend.errors import ImageMaybeDeleted, ImageNotFound, ImageTooSlow
from backend.inference import Predictor
from backend.types import ImageFile, LabelStudioAccess, Turn
from segmenter import WeightsNotFound
from tests.batch_work import NOTHING_LEFT, Reports, assert_each_once, chunk_of, work_of
from tests.fakes import (
    MODEL_VERSION,
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    Pixels,
    brush_config,
    make_predictor,
    picture,
)
from tests.label_studio_stand_in import LabelStudioStandIn

OLDER = "diffsegmenter-colours-older"
OTHERS = "somebody-elses-model"


@pytest.fixture
def project_id(studio: LabelStudioStandIn) -> int:
    return studio.add_project()


@pytest.fixture
def reports() -> Reports:
    return Reports()


class BrokenFetcher:
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn | None = None,
    ) -> ImageFile:
        raise self._error


def test_run_stores_one_prediction_per_task(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 20)

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    reports.assert_done(ids)
    assert_each_once(studio, ids)
    (stored,) = studio.predictions_of(ids[0]).values()
    assert [r["value"]["brushlabels"] for r in stored.result] == [["red"]]
    assert stored.score is not None


def test_run_stores_several_predictions_in_one_request(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 40)

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert studio.n_requests("POST") < len(ids)


def test_run_passes_over_tasks_that_hold_the_version(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    segmenter: ColourSegmenter,
    project_id: int,
    reports: Reports,
) -> None:
    held, tasks_without = ids = studio.add_tasks(
        project_id, picture("red"), picture("blue")
    )
    studio.store(held, MODEL_VERSION)
    studio.store(tasks_without, OTHERS)

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert segmenter.calls == 1
    reports.assert_done(ids)
    assert studio.versions_of(tasks_without) == [OTHERS, MODEL_VERSION]


def test_run_removes_doubles_and_keeps_the_oldest(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    (task_id,) = ids = studio.add_pictures(project_id, 1)
    others = studio.store(task_id, OTHERS)
    oldest, *_ = [studio.store(task_id, MODEL_VERSION) for _ in range(3)]

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert list(studio.predictions_of(task_id)) == [others, oldest]
    reports.assert_done(ids)


def test_run_that_replaces_removes_our_earlier_versions_and_no_others(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    done, _ = ids = studio.add_pictures(project_id, 2)
    for task_id in ids:
        studio.store(task_id, OLDER)
        studio.store(task_id, OTHERS)
    studio.store(done, MODEL_VERSION)

    work_of(studio, predictor).run(chunk_of(project_id, ids, replaces=True), reports)

    for task_id in ids:
        assert studio.versions_of(task_id) == [OTHERS, MODEL_VERSION]


def test_run_that_replaces_removes_nothing_before_the_new_one_is_stored(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    (task_id,) = ids = studio.add_pictures(project_id, 1)
    studio.store(task_id, OLDER)
    seen_then: list[list[str]] = []
    studio.before("DELETE", lambda: seen_then.append(studio.versions_of(task_id)))

    work_of(studio, predictor).run(chunk_of(project_id, ids, replaces=True), reports)

    assert seen_then == [[OLDER, MODEL_VERSION]]
    assert studio.versions_of(task_id) == [MODEL_VERSION]


def test_run_that_replaces_keeps_what_there_is_where_the_new_one_fails(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    (task_id,) = ids = studio.add_tasks(project_id, "data:image/png;base64,AAAA")
    studio.store(task_id, OLDER)

    work_of(studio, predictor).run(chunk_of(project_id, ids, replaces=True), reports)

    assert studio.versions_of(task_id) == [OLDER]
    assert list(reports.failures) == ids


def test_run_that_does_not_replace_leaves_earlier_versions(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    (task_id,) = ids = studio.add_pictures(project_id, 1)
    studio.store(task_id, OLDER)

    work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert studio.versions_of(task_id) == [OLDER, MODEL_VERSION]


@pytest.mark.parametrize("n_bad", [1, 3], ids=["one", "three"])
def test_run_halves_a_refused_bulk_until_only_the_bad_ones_fail(
    n_bad: int,
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 21)
    bad = ids[4::7][:n_bad]
    studio.complaint_about = lambda row: (
        "Region 0: no such label" if row["task"] in bad else None
    )

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    good = [task_id for task_id in ids if task_id not in bad]
    assert unfinished == NOTHING_LEFT
    reports.assert_done(good)
    assert_each_once(studio, good)
    assert set(reports.failures) == set(bad)
    for reason in reports.failures.values():
        assert "Prediction 0: Region 0: no such label" in reason


def test_run_closes_tasks_that_were_deleted_meanwhile(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    gone, going, stays = ids = studio.add_pictures(project_id, 3)
    studio.remove_task(gone)
    studio.before("POST", lambda: studio.remove_task(going))

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    reports.assert_done([stays])
    assert reports.gone == Counter([gone, going])
    assert reports.failures == {}


def test_run_tells_a_deleted_task_from_a_missing_picture(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    stays, going = ids = studio.add_pictures(project_id, 2)

    class Deleting(BrokenFetcher):
        def read(self, *args: Any, **kwargs: Any) -> ImageFile:
            if going in studio.tasks:
                studio.remove_task(going)
            return super().read(*args, **kwargs)

    predictor = replace(predictor, fetcher=Deleting(ImageNotFound("not there")))

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert reports.gone == Counter([going])
    assert set(reports.failures) == {stays}


def test_run_leaves_a_changed_label_config_to_a_newer_chunk(
    studio: LabelStudioStandIn, segmenter: ColourSegmenter, reports: Reports
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 2)
    predictor = make_predictor(segmenter, version_of=lambda print: f"v-{print[:8]}")
    chunk = chunk_of(project_id, ids, version=predictor.model_version(RED_AND_BLUE))
    config = brush_config('<Label value="green"/>')
    studio.projects[project_id].label_config = config

    unfinished = work_of(studio, predictor).run(chunk, reports)

    assert unfinished == Unfinished(
        not_started=ids, newer_version=predictor.model_version(config)
    )
    assert reports == Reports()
    assert studio.predictions == {}
    assert segmenter.calls == 0


def test_run_leaves_what_a_changed_label_config_refuses_to_a_newer_chunk(
    studio: LabelStudioStandIn, segmenter: ColourSegmenter, reports: Reports
) -> None:
    project_id = studio.add_project()
    ids = studio.add_pictures(project_id, 2)
    predictor = make_predictor(segmenter, version_of=lambda print: f"v-{print[:8]}")
    chunk = chunk_of(project_id, ids, version=predictor.model_version(RED_AND_BLUE))
    config = brush_config('<Label value="green"/>')

    def change_config() -> None:
        studio.projects[project_id].label_config = config
        studio.complaint_about = lambda row: "no such label"

    studio.before("POST", change_config)

    unfinished = work_of(studio, predictor).run(chunk, reports)

    assert unfinished.newer_version == predictor.model_version(config)
    assert unfinished.not_started == ids
    assert reports == Reports()


def test_run_says_once_why_a_changed_label_config_has_nothing_to_segment(
    studio: LabelStudioStandIn, predictor: Predictor, reports: Reports
) -> None:
    project_id = studio.add_project(label_config="<View/>")
    ids = studio.add_pictures(project_id, 2)

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert set(reports.failures) == set(ids)
    assert len(set(reports.failures.values())) == 1
    assert studio.predictions == {}


def test_run_refuses_a_label_config_that_has_nothing_to_segment(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    studio.projects[project_id].label_config = "<View/>"

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    assert set(reports.failures) == set(ids)


def test_run_gives_up_tasks_whose_image_can_never_be_had(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    bad, good, empty = ids = studio.add_tasks(
        project_id, "data:image/png;base64,AAAA", picture("red"), ""
    )

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == NOTHING_LEFT
    reports.assert_done([good])
    assert set(reports.failures) == {bad, empty}


@pytest.mark.parametrize(
    "error",
    [ImageTooSlow("the host sleeps"), RuntimeError("the GPU is full")],
    ids=["slow-image", "bug"],
)
def test_run_leaves_for_later_what_may_pass(
    error: Exception,
    studio: LabelStudioStandIn,
    segmenter: ColourSegmenter,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    predictor = make_predictor(segmenter, fetcher=BrokenFetcher(error))

    unfinished = work_of(studio, predictor).run(chunk_of(project_id, ids), reports)

    assert unfinished == Unfinished(
        retry=dict.fromkeys(ids, str(error)), not_started=[]
    )
    assert not reports.done
    assert not reports.failures


def test_run_tries_an_upload_that_may_be_deleted_once_more_and_no_longer(
    studio: LabelStudioStandIn,
    segmenter: ColourSegmenter,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 1)
    error = ImageMaybeDeleted("status 500")
    predictor = make_predictor(segmenter, fetcher=BrokenFetcher(error))
    work = work_of(studio, predictor)
    first = chunk_of(project_id, ids)

    again, _ = work.run(first, reports).next_attempt(first)
    assert again is not None
    assert not reports.failures
    unfinished = work.run(again, reports)

    assert retry_delay_s(again.attempts) <= 10
    assert unfinished == NOTHING_LEFT
    assert reports.failures == {ids[0]: "status 500"}


def test_run_stops_after_the_image_at_hand_and_leaves_the_rest_untouched(
    studio: LabelStudioStandIn, project_id: int, reports: Reports
) -> None:
    ids = studio.add_tasks(
        project_id,
        *(picture("red", "white", size_yx=(4, 6 + n)) for n in range(40)),
    )
    stop = threading.Event()
    seen: list[int] = []

    def stop_at_the_third(pixels: Pixels) -> None:
        seen.append(1)
        if len(seen) == 3:
            stop.set()

    predictor = make_predictor(ColourSegmenter(stop_at_the_third))

    unfinished = work_of(studio, predictor, stop=stop).run(
        chunk_of(project_id, ids), reports
    )

    assert not unfinished.retry
    assert 0 < len(reports.done) < len(ids)
    assert sorted([*reports.done, *unfinished.not_started]) == ids
    assert_each_once(studio, list(reports.done))
    assert all(not studio.versions_of(task) for task in unfinished.not_started)


def test_run_that_is_stopped_before_it_begins_asks_nothing(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 2)
    stop = threading.Event()
    stop.set()

    unfinished = work_of(studio, predictor, stop=stop).run(
        chunk_of(project_id, ids), reports
    )

    assert unfinished == Unfinished(retry={}, not_started=ids)
    assert studio.seen == []


def test_run_that_does_not_store_fills_the_cache_alone(
    studio: LabelStudioStandIn,
    predictor: Predictor,
    cache: MemoryCache,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_tasks(project_id, picture("red"), picture("blue"))

    unfinished = work_of(studio, predictor).run(
        chunk_of(project_id, ids, stores=False), reports
    )

    assert unfinished == NOTHING_LEFT
    reports.assert_done(ids)
    assert studio.predictions == {}
    assert len(cache.values) == 2


def test_run_without_a_model_raises_and_reports_nothing(
    studio: LabelStudioStandIn,
    segmenter: ColourSegmenter,
    project_id: int,
    reports: Reports,
) -> None:
    ids = studio.add_pictures(project_id, 2)

    def load(timeout_s: float) -> ColourSegmenter:
        raise WeightsNotFound("colours", "they have faded")

    predictor = make_predictor(segmenter, segmenter=load)

    with pytest.raises(WeightsNotFound):
        work_of(studio, predictor).run(chunk_of(project_id, ids), reports)
    assert not reports.failures
