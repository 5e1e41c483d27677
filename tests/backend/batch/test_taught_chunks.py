"""Whole projects while their labels learn: each prediction has its masks' version."""

from dataclasses import replace

from backend.batch.chunks import Unfinished
from backend.inference import Predictor, Taught
from backend.regions import seen_regions
from segmenter import Heads
from tests.backend.inference.test_taught import (
    SIZE_YX,
    ZORK,
    heads,
    predictor_of,
)
from tests.batch_work import NOTHING_LEFT, Reports, chunk_of, work_of
from tests.fakes import ColourSegmenter, Pixels, picture
from tests.label_studio_stand_in import LabelStudioStandIn

__all__ = ["heads"]  # a fixture


class Lessons:
    """What is known of a project's labels, from some moment on."""

    def __init__(self, heads: Heads, *, are_learned: bool) -> None:
        self.heads = heads
        self.are_learned = are_learned

    def put_into(self, predictor: Predictor) -> Predictor:
        name = predictor.scorer.maps_name("fast")

        def taught(project: str | None) -> Taught | None:
            if not self.are_learned:
                return None
            return Taught(heads=self.heads, maps_name=name)

        return replace(predictor, taught=taught)


def labels_of(studio: LabelStudioStandIn, task_id: int) -> dict[str, set[str]]:
    """Which labels predictions of each version draw."""
    return {
        stored.model_version: {
            label
            for region in seen_regions(stored.result).values()
            for label in region.labels
        }
        for stored in studio.predictions_of(task_id).values()
    }


def test_a_chunk_of_words_is_left_to_a_newer_one_once_labels_have_learned(
    studio: LabelStudioStandIn, heads: Heads
) -> None:
    project_id = studio.add_project(label_config=ZORK)
    ids = studio.add_tasks(project_id, picture("red", "green", size_yx=SIZE_YX))
    lessons = Lessons(heads, are_learned=False)
    segmenter = ColourSegmenter()
    predictor = lessons.put_into(predictor_of(segmenter, None))
    words = predictor.model_version(ZORK, str(project_id))
    lessons.are_learned = True
    taught = predictor.model_version(ZORK, str(project_id))

    left = work_of(studio, predictor).run(
        chunk_of(project_id, ids, version=words), Reports()
    )
    done = work_of(studio, predictor).run(
        chunk_of(project_id, ids, version=taught), Reports()
    )

    assert taught != words
    assert left == Unfinished(not_started=ids, newer_version=taught)
    assert done == NOTHING_LEFT
    assert labels_of(studio, ids[0]) == {taught: {"red", "zork"}}


def test_a_chunk_under_way_goes_on_as_it_began_when_labels_learn(
    studio: LabelStudioStandIn, heads: Heads
) -> None:
    project_id = studio.add_project(label_config=ZORK)
    ids = studio.add_tasks(
        project_id,
        picture("red", "green", size_yx=SIZE_YX),
        picture("green", "red", size_yx=SIZE_YX),
    )
    lessons = Lessons(heads, are_learned=False)

    def learn(pixels: Pixels) -> None:
        lessons.are_learned = True

    predictor = lessons.put_into(predictor_of(ColourSegmenter(learn), None))
    words = predictor.model_version(ZORK, str(project_id))

    unfinished = work_of(studio, predictor).run(
        chunk_of(project_id, ids, version=words), Reports()
    )

    assert unfinished == NOTHING_LEFT
    assert [labels_of(studio, task_id) for task_id in ids] == [{words: {"red"}}] * 2
