"""Labels learn from what is submitted in a real Label Studio, whatever is killed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from typer.testing import CliRunner

from backend.cli import build_app
from backend.feedback import Correction, FeedbackStore, open_feedback_store
from segmenter import Example as LearnedExample
from segmenter import Heads
from segmenter.pocket.scenes import render_scene
from tests.backend.feedback.annotations import region
from tests.e2e.backend_process import Backend, ServedBackend, running_backend
from tests.e2e.batches import wait_until
from tests.e2e.browser import Browser
from tests.e2e.examples import Example, Picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.processes import ARTIFACTS_DIR, free_port
from tests.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.e2e

# A word that no model knows, for what the pictures show as a dog.
_WORD: Final = "dog"
_CONFIG: Final = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="cat" background="#ff00ff"/>'
    '<Label value="zork" model_prompt="" background="#005aff"/>'
    "</BrushLabels></View>"
)
# Scenes of the test split with two objects each: three zorks among five.
_CORRECTED: Final = (1_003_050, 1_003_069, 1_003_087, 1_003_005, 1_003_010)
_WITH: Final = (1_003_648, 1_003_816)
_WITHOUT: Final = (1_003_013, 1_003_017)
_IOU_FLOOR: Final = 0.5
_PERSISTENT: Final = ("--appendonly", "yes", "--appendfsync", "always")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """A project whose first pictures are to be corrected.

    Attributes:
        tasks: ids by the scenes' seeds.
        pictures: by the same.
    """

    api: LabelStudioApi
    project_id: int
    tasks: Mapping[int, int]
    pictures: Mapping[int, Picture]

    @property
    def name(self) -> str:
        """The project as the store knows it."""
        return str(self.project_id)

    @property
    def version(self) -> str:
        """What the backend tells Label Studio now."""
        (row,) = self.api.backends(self.project_id)
        return str(row["model_version"])

    def predictions(self, seed: int, version: str) -> list[dict[str, Any]]:
        rows = self.api.predictions(self.tasks[seed])
        return [row for row in rows if row["model_version"] == version]

    def correct(self, seed: int) -> int:
        """Submit the truth in place of what was predicted; the annotation's id."""
        truth = self.pictures[seed].truth
        named = [("cat", "cat"), (_WORD, "zork")]
        result = [
            region(truth[word], label, region_id=f"{label}-{seed}")
            for word, label in named
            if word in truth and truth[word].any()
        ]
        rows = self.api.predictions(self.tasks[seed])
        parent = max((int(row["id"]) for row in rows), default=None)
        return self.api.submit_annotation(
            self.tasks[seed], result, lead_time=12.5, parent_prediction=parent
        )

    def zork(self, seed: int, version: str) -> np.ndarray:
        (prediction,) = self.predictions(seed, version)
        return label_mask(prediction, "zork", self.pictures[seed].size_yx)


def picture(seed: int) -> Picture:
    scene = render_scene(seed, n_objects=2)
    return Picture(
        example=Example(seed=seed),
        pixels=scene.image,
        truth=dict(zip(scene.words, scene.visible, strict=True)),
    )


def lesson_of(api: LabelStudioApi, backend: Backend, *seeds: int) -> Lesson:
    """A project with these scenes, connected."""
    project_id = api.create_project("Zorks", _CONFIG)
    pictures = {seed: picture(seed) for seed in seeds}
    for seed, one in pictures.items():
        api.import_file(project_id, f"scene-{seed}.png", one.content)
    api.connect_backend(project_id, backend.url)
    tasks = {
        seed: int(task["id"])
        for task in api.tasks(project_id)
        for seed in seeds
        if f"scene-{seed}." in task["data"]["image"]
    }
    return Lesson(api=api, project_id=project_id, tasks=tasks, pictures=pictures)


@contextmanager
def opened(redis_url: str | None, folder: Path) -> Iterator[FeedbackStore]:
    with closing(open_feedback_store(redis_url, folder)) as store:
        yield store


def wait_for_corrections(store: FeedbackStore, lesson: Lesson, count: int) -> None:
    def are_there() -> bool:
        found = store.corrections(lesson.name)
        return len(found) == count and not any(one.is_pending for one in found)

    wait_until(are_there)


def import_all(lesson: Lesson, environment: Mapping[str, str]) -> str:
    """Run `diffsegmenter feedback import` to its end."""
    result = CliRunner().invoke(
        build_app(),
        ["feedback", "import", "--project", lesson.name],
        env=dict(environment),
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One of its own: other Label Studios have projects of the same numbers."""
    with running_redis() as server:
        yield server


@pytest.fixture
def learning(
    label_studio: LabelStudio, redis_server: RedisServer, tmp_path: Path
) -> Iterator[Backend]:
    """A backend that learns on *Start Training* alone."""
    with running_backend(
        label_studio_url=label_studio.url,
        token=label_studio.legacy_token,
        cache_dir=tmp_path / "cache",
        log_path=ARTIFACTS_DIR / "backend-learning.log",
        redis_url=redis_server.url,
        environment={"LEARN_AFTER": "0"},
    ) as process:
        yield process


def test_five_corrected_tasks_teach_a_label_that_no_word_describes(
    api: LabelStudioApi,
    browser: Browser,
    learning: Backend,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    lesson = lesson_of(api, learning, *_CORRECTED, *_WITH, *_WITHOUT)
    api.retrieve_predictions(lesson.project_id)
    words = lesson.version

    with opened(redis_server.url, tmp_path) as store:
        submitted = [lesson.correct(seed) for seed in _CORRECTED]
        wait_for_corrections(store, lesson, 5)
        untaught = lesson.version
        browser.start_training(lesson.project_id)
        wait_until(lambda: lesson.version != words)
        taught = lesson.version
        api.retrieve_predictions(lesson.project_id)

        # Before: no word finds it. After: the masks that were drawn do.
        assert untaught == words
        assert not any(lesson.zork(seed, words).any() for seed in lesson.tasks)
        ious = {
            seed: intersection_over_union(
                lesson.zork(seed, taught), lesson.pictures[seed].truth[_WORD]
            )
            for seed in _WITH
        }
        assert min(ious.values()) >= _IOU_FLOOR, ious
        assert not any(lesson.zork(seed, taught).any() for seed in _WITHOUT)
        # Nothing is asked for again, and nothing of a person is kept.
        api.retrieve_predictions(lesson.project_id)
        assert len(api.predictions_of_project(lesson.project_id)) == 2 * len(
            lesson.tasks
        )
        assert lesson.version == taught
        found = store.corrections(lesson.name)
        assert [one.annotation for one in found] == sorted(submitted)
        assert {one.lead_time_s for one in found} == {12.5}
        assert not any(b"admin@" in one.to_bytes() for one in found)


def test_a_deleted_annotation_is_forgotten_and_unlearned(
    api: LabelStudioApi, learning: Backend, redis_server: RedisServer, tmp_path: Path
) -> None:
    lesson = lesson_of(api, learning, *_CORRECTED)
    words = lesson.version

    def n_examples() -> int:
        taught = store.heads(lesson.name)
        heads = () if taught is None else Heads.from_bytes(taught.data).labels
        return sum(head.n_positive for head in heads if head.label == "zork")

    with opened(redis_server.url, tmp_path) as store:
        submitted = [lesson.correct(seed) for seed in _CORRECTED]
        wait_for_corrections(store, lesson, 5)
        api.start_training(lesson.project_id)
        wait_until(lambda: n_examples() == 3)
        # The backend looks for news once in a while.
        wait_until(lambda: lesson.version != words)
        before = lesson.version

        api.delete_annotation(submitted[0])
        wait_for_corrections(store, lesson, 4)
        api.start_training(lesson.project_id)
        wait_until(lambda: n_examples() == 2)

        assert submitted[0] not in {
            one.annotation for one in store.corrections(lesson.name)
        }
        wait_until(lambda: lesson.version != before)


def test_a_kill_of_backend_and_redis_loses_no_correction(
    api: LabelStudioApi, label_studio: LabelStudio, tmp_path: Path
) -> None:
    environment = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.legacy_token,
        "LEARN_AFTER": "0",
    }
    port = free_port()

    @contextmanager
    def serving(name: str) -> Iterator[ServedBackend]:
        with running_backend(
            cache_dir=tmp_path / "cache",
            log_path=ARTIFACTS_DIR / f"backend-{name}.log",
            redis_url=redis.url,
            port=port,
            environment=environment,
        ) as process:
            yield process

    with running_redis(extra_args=_PERSISTENT) as redis:
        with serving("learning-killed") as backend:
            lesson = lesson_of(api, backend, *_CORRECTED)
            api.retrieve_predictions(lesson.project_id)
            for seed in _CORRECTED[:3]:
                lesson.correct(seed)
            backend.kill()
            redis.stop()
        # Nobody is there to be told.
        lesson.correct(_CORRECTED[3])
        redis.start()
        with (
            serving("learning-restarted"),
            opened(redis.url, tmp_path / "cache") as store,
        ):
            # What was accepted is worked on, though its first worker was killed.
            wait_for_corrections(store, lesson, 3)
            lesson.correct(_CORRECTED[4])
            wait_for_corrections(store, lesson, 4)
            import_all(lesson, {**environment, "REDIS_URL": redis.url})
            found = store.corrections(lesson.name)

    alone = tmp_path / "alone"
    import_all(lesson, {**environment, "CACHE_DIR": str(alone)})
    with opened(None, alone) as other:
        expected = other.corrections(lesson.name)
    assert len(found) == 5
    assert_same(found, expected)


def assert_same(found: Sequence[Correction], expected: Sequence[Correction]) -> None:
    """What was learned of is the same, however it came.

    But for rounding: images that shared a pass differ in their last bits from those
    that had one of their own.
    """
    assert [one.annotation for one in found] == [one.annotation for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert replace(one, examples=()) == replace(other, examples=())
        for packed, again in zip(one.examples, other.examples, strict=True):
            left, right = (LearnedExample.from_bytes(one) for one in (packed, again))
            assert left.labels == right.labels
            np.testing.assert_array_equal(left.covers, right.covers)
            np.testing.assert_allclose(left.presence, right.presence, atol=1e-4)
            np.testing.assert_allclose(left.words, right.words, atol=1)
            np.testing.assert_allclose(
                left.values, right.values, atol=1.1 * float(left.step.max())
            )
