"""Events in, corrections in the store out: with real stores, and no model."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.cache import MAX_LAYER_BYTES, FeatureStore, Slots
from backend.feedback import Correction, FeedbackStore, open_feedback_store
from backend.feedback.answers import AnswerLog
from backend.feedback.events import Event, parse_event
from backend.feedback.learner import Learner
from backend.images import ImageFetcher
from backend.inference import DeadlineExceeded
from backend.types import LabelStudioAccess
from segmenter import Example, ScoreMaps, WeightsNotFound
from tests.backend.feedback.annotations import (
    PERSON,
    annotation,
    deleted,
    payload,
    region,
)
from tests.fakes import (
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    brush_config,
    encoded,
    make_predictor,
    picture,
    striped,
)
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn, Prediction
from tests.redis_server import RedisServer
from tests.web_server import WebServer

SIZE_YX = (8, 12)
DATA = {"image": picture("red", "blue", size_yx=SIZE_YX)}
RED = np.zeros(SIZE_YX, bool)
RED[:, :6] = True
OURS = "diffsegmenter-colours-0"
NOWHERE = LabelStudioAccess(url=None)


@dataclass
class Bench:
    """A learner, and what can be seen of its work."""

    store: FeedbackStore
    segmenter: ColourSegmenter = field(default_factory=ColourSegmenter)
    access: LabelStudioAccess = NOWHERE
    changes: list[str] = field(default_factory=list)
    taught: list[str] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    cache: MemoryCache = field(default_factory=MemoryCache)

    def __post_init__(self) -> None:
        self.answers = AnswerLog(self.cache)
        self.learner = Learner(
            store=self.store,
            predictor=make_predictor(self.segmenter, cache=self.cache, **self.parts),
            answers=self.answers,
            access_of=lambda event: self.access,
            note_change=self.changes.append,
            teach=self.taught.append,
        )

    def learn(self, sent: dict[str, Any]) -> str | None:
        event = parse_event(sent)
        assert event is not None
        return self.learner.work_on(Event.from_bytes(event.to_bytes()))

    @property
    def corrections(self) -> list[Correction]:
        return self.store.corrections("7")

    @property
    def kinds(self) -> list[tuple[str, str]]:
        (correction,) = self.corrections
        return [(one.label, one.kind) for one in correction.outcomes]


@pytest.fixture
def bench(store: FeedbackStore) -> Bench:
    return Bench(store)


@pytest.fixture
def memory(tmp_path: Path) -> FeedbackStore:
    """One store, where both would show the same."""
    return open_feedback_store(None, tmp_path)


def sent(
    *regions: dict[str, Any],
    config: str = RED_AND_BLUE,
    data: dict[str, Any] = DATA,
    action: str = "ANNOTATION_CREATED",
    **changes: Any,
) -> dict[str, Any]:
    submitted = annotation(regions or [region(RED)], **changes)
    return payload(submitted, config=config, data=data, action=action)


def test_an_annotation_teaches_by_its_image_without_asking_anybody(
    bench: Bench,
) -> None:
    assert bench.learn(sent()) is None

    (correction,) = bench.corrections
    assert (correction.task, correction.annotation) == ("5", 31)
    assert correction.model == bench.learner.predictor.scorer.maps_name("fast")
    assert (correction.lead_time_s, correction.had_predictions) == (12.5, False)
    assert len(correction.image_digests) == 1
    assert not correction.is_pending
    example = Example.from_bytes(correction.examples[0])
    assert example.labels == ("red", "blue")
    # Red covers the left half, and blue is known not to be there.
    covers = example.covers / 255
    assert (covers[0][:, : covers.shape[2] // 2] > 0.9).all()
    assert not covers[1].any()
    assert bench.changes == ["7"]


def test_the_same_event_twice_is_one_correction_and_one_change(bench: Bench) -> None:
    bench.learn(sent())
    (first,) = bench.corrections
    bench.learn(sent())

    assert bench.corrections == [first]
    assert bench.changes == ["7"]
    assert bench.segmenter.calls == 1


def test_events_out_of_order_end_as_the_latest(bench: Bench) -> None:
    later = sent(region(RED, "blue"), minute=5, action="ANNOTATION_UPDATED")
    bench.learn(later)
    bench.learn(sent())

    assert bench.kinds == [("blue", "drawn")]
    assert bench.changes == ["7"]


def test_a_deleted_annotation_is_taken_back_and_does_not_come_again(
    bench: Bench,
) -> None:
    bench.learn(sent())
    bench.learn(sent(annotation_id=32))
    bench.learn(deleted(31, 33))
    bench.learn(sent(minute=9, action="ANNOTATION_UPDATED"))
    bench.learn(sent(annotation_id=33))

    assert [one.annotation for one in bench.corrections] == [32]


def test_an_annotation_that_is_skipped_after_all_teaches_nothing(
    bench: Bench,
) -> None:
    skipped = sent(minute=5, was_cancelled=True, action="ANNOTATION_UPDATED")
    for events in ([sent(), skipped], [skipped, sent()]):
        bench.store.reset("7")
        for event in events:
            bench.learn(event)

        assert bench.corrections == []
    bench.learn(sent(minute=6, action="ANNOTATION_UPDATED"))
    assert len(bench.corrections) == 1


def test_training_is_asked_for_by_its_event(bench: Bench) -> None:
    bench.learn({"action": "START_TRAINING", "project": {"id": 7}})

    assert bench.taught == ["7"]


def test_what_was_answered_tells_what_became_of_it(bench: Bench) -> None:
    bench.answers.put("7", 5, [region(RED), region(~RED, "blue", region_id="r2")])

    bench.learn(sent(region(RED, origin="prediction"), parent_prediction=9))

    assert bench.kinds == [("red", "accepted"), ("blue", "deleted")]
    assert bench.corrections[0].had_predictions


def test_an_annotation_from_scratch_deletes_nothing_that_was_answered(
    bench: Bench,
) -> None:
    bench.answers.put("7", 5, [region(~RED, "blue", region_id="r2")])

    bench.learn(sent(parent_prediction=None))

    assert bench.kinds == [("red", "drawn")]
    assert not bench.corrections[0].had_predictions


def test_an_annotation_of_another_backends_prediction_deletes_nothing_of_ours(
    bench: Bench,
) -> None:
    bench.answers.put("7", 5, [region(~RED, "blue", region_id="ours")])
    theirs = region(RED, region_id="theirs", origin="prediction-changed")

    bench.learn(sent(theirs, parent_prediction=9))

    assert bench.kinds == [("red", "drawn")]


def with_studio(memory: FeedbackStore, studio: LabelStudioStandIn) -> Bench:
    access = LabelStudioAccess(url=studio.url, token=TOKEN, from_environment=True)
    return Bench(memory, access=access)


@pytest.mark.parametrize(
    ("version", "kinds"),
    [
        pytest.param(OURS, [("red", "accepted"), ("blue", "deleted")], id="ours"),
        pytest.param("another-model-3", [("red", "drawn")], id="another's"),
    ],
)
def test_what_is_forgotten_is_asked_of_label_studio_by_the_parents_number(
    version: str,
    kinds: list[tuple[str, str]],
    memory: FeedbackStore,
    studio: LabelStudioStandIn,
) -> None:
    bench = with_studio(memory, studio)
    studio.predictions[9] = Prediction(
        5, version, [region(RED), region(~RED, "blue", region_id="r2")]
    )

    bench.learn(sent(region(RED, origin="prediction"), parent_prediction=9))

    assert bench.kinds == kinds


def test_a_prediction_that_is_gone_leaves_what_was_drawn(
    memory: FeedbackStore, studio: LabelStudioStandIn
) -> None:
    bench = with_studio(memory, studio)

    assert bench.learn(sent(parent_prediction=9)) is None

    assert bench.kinds == [("red", "drawn")]


def test_a_label_studio_that_is_away_is_asked_again_later(
    memory: FeedbackStore, studio: LabelStudioStandIn
) -> None:
    bench = with_studio(memory, studio)
    studio.predictions[9] = Prediction(5, OURS, [region(RED)])
    studio.answer(503, path_part="predictions")
    event = sent(region(RED, origin="prediction"), parent_prediction=9)

    assert "503" in str(bench.learn(event))
    assert bench.corrections[0].is_pending
    assert len(bench.corrections[0].examples) == 1

    assert bench.learn(event) is None
    assert bench.kinds == [("red", "accepted")]
    assert not bench.corrections[0].is_pending


def test_an_address_that_anybody_may_have_told_is_not_asked_with_a_token(
    memory: FeedbackStore, studio: LabelStudioStandIn
) -> None:
    told = LabelStudioAccess(url=studio.url, token=TOKEN, may_be_private=True)
    bench = Bench(memory, access=told)

    bench.learn(sent(parent_prediction=9))

    assert studio.seen == []


def test_an_image_that_is_away_is_read_again_later(
    memory: FeedbackStore, server: WebServer, server_fetcher: ImageFetcher
) -> None:
    bench = Bench(memory, parts={"fetcher": server_fetcher})
    data = {"image": f"{server.url}/a.png"}

    assert bench.learn(sent(data=data)) is not None
    (pending,) = bench.corrections
    assert (pending.is_pending, pending.examples) == (True, ())
    assert bench.kinds == [("red", "drawn")]
    bench.learn(sent(data=data))
    assert bench.changes == ["7"]

    server.serve("/a.png", encoded(striped("red", "blue", size_yx=SIZE_YX)))
    assert bench.learn(sent(data=data)) is None
    (whole,) = bench.corrections
    assert (whole.is_pending, len(whole.examples)) == (False, 1)
    assert bench.changes == ["7", "7"]


@pytest.mark.parametrize(
    ("away", "reason"),
    [
        pytest.param(DeadlineExceeded(), "not ready", id="loading"),
        pytest.param(WeightsNotFound("some-model", "nowhere"), "some-model", id="gone"),
    ],
)
def test_a_model_that_is_away_is_asked_again_later(
    away: Exception, reason: str, memory: FeedbackStore
) -> None:
    segmenter, outages = ColourSegmenter(), [away]

    def get(timeout_s: float) -> ColourSegmenter:
        if outages:
            raise outages[0]
        return segmenter

    bench = Bench(memory, parts={"segmenter": get})
    assert reason in str(bench.learn(sent()))
    assert bench.corrections[0].is_pending

    outages.clear()
    assert bench.learn(sent()) is None
    assert len(bench.corrections[0].examples) == 1


def test_maps_that_are_kept_need_no_model(memory: FeedbackStore) -> None:
    cache = MemoryCache()
    layers = FeatureStore(
        Slots(cache, "layers", 8), max_bytes=0, largest_bytes=MAX_LAYER_BYTES
    )
    first = Bench(memory, cache=cache, parts={"layers": layers})
    first.learn(sent())
    (with_model,) = first.corrections
    memory.reset("7")

    def refuse(timeout_s: float) -> ColourSegmenter:
        raise AssertionError("no model is needed")

    Bench(memory, cache=cache, parts={"layers": layers, "segmenter": refuse}).learn(
        sent()
    )
    assert memory.corrections("7") == [with_model]


def test_each_page_gives_an_example(memory: FeedbackStore) -> None:
    bench = Bench(memory)
    config = RED_AND_BLUE.replace("value=", "valueList=", 1)
    pages = [picture("red", page, size_yx=SIZE_YX) for page in ("blue", "green")]

    bench.learn(sent(region(RED, item_index=1), config=config, data={"image": pages}))

    (correction,) = bench.corrections
    assert len(set(correction.image_digests)) == 2
    covers = [Example.from_bytes(one).covers[0].any() for one in correction.examples]
    assert covers == [False, True]


def test_of_many_pages_those_that_were_drawn_on_teach(memory: FeedbackStore) -> None:
    bench = Bench(memory)
    config = RED_AND_BLUE.replace("value=", "valueList=", 1)
    pages = [picture(*["red"] * n, "blue", size_yx=SIZE_YX) for n in range(1, 9)]

    bench.learn(sent(region(RED, item_index=7), config=config, data={"image": pages}))

    (correction,) = bench.corrections
    covers = [Example.from_bytes(one).covers[0].any() for one in correction.examples]
    assert len(covers) == 6
    assert covers[-1]


def test_of_pages_as_many_teach_as_there_is_room_for(
    memory: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(memory)
    bench.learn(sent())
    (size,) = (len(one) for one in bench.corrections[0].examples)
    memory.reset("7")
    monkeypatch.setattr("backend.feedback.examples.MOST_EXAMPLE_BYTES", 2.5 * size)
    config = RED_AND_BLUE.replace("value=", "valueList=", 1)
    pages = [picture(*["red"] * n, "blue", size_yx=SIZE_YX) for n in range(1, 5)]

    bench.learn(sent(region(RED, item_index=3), config=config, data={"image": pages}))

    covers = [
        Example.from_bytes(one).covers[0].any() for one in bench.corrections[0].examples
    ]
    assert covers == [False, True]


def test_a_label_that_cannot_be_read_is_not_taken_for_absent(
    memory: FeedbackStore,
) -> None:
    bench = Bench(memory)
    broken = region(RED, "blue", region_id="broken")
    broken["value"] = {"rle": [1], "format": "rle", "brushlabels": ["blue"]}

    bench.learn(sent(region(RED), broken))

    (correction,) = bench.corrections
    assert Example.from_bytes(correction.examples[0]).labels == ("red",)


def test_a_mask_of_an_image_of_another_size_teaches_nothing_of_its_label(
    memory: FeedbackStore,
) -> None:
    bench = Bench(memory)

    assert bench.learn(sent(region(np.ones((3, 5), bool)))) is None

    (correction,) = bench.corrections
    assert Example.from_bytes(correction.examples[0]).labels == ("blue",)


def test_a_label_without_words_is_taught(memory: FeedbackStore) -> None:
    bench = Bench(memory)
    config = brush_config('<Label value="zork" model_prompt=""/>')

    assert bench.learn(sent(region(RED, "zork"), config=config)) is None

    example = Example.from_bytes(bench.corrections[0].examples[0])
    assert example.labels == ("zork",)
    assert example.covers.any()
    assert not example.words.any()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"config": "<View/>"}, id="nothing-to-draw"),
        pytest.param({"config": "<View"}, id="no-xml"),
        pytest.param({"config": ""}, id="empty"),
    ],
)
def test_a_project_that_cannot_be_predicted_teaches_nothing(
    changes: dict[str, Any], memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(memory)

    assert bench.learn(sent(**changes)) is None
    assert bench.corrections == []
    assert "annotation 31 teaches nothing" in caplog.text
    assert len(caplog.text.splitlines()) == 1


def test_a_task_without_an_image_still_tells_what_became_of_regions(
    memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(memory)

    assert bench.learn(sent(data={"text": "no image"})) is None
    assert bench.kinds == [("red", "drawn")]
    assert bench.corrections[0].examples == ()
    assert "gives no example" in caplog.text


def test_a_model_that_tells_nothing_but_maps_teaches_nothing(
    memory: FeedbackStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Bare(ColourSegmenter):
        def score(self, *args: Any, **options: Any) -> list[ScoreMaps]:
            return [
                replace(maps, layers=None) for maps in super().score(*args, **options)
            ]

    bench = Bench(memory, segmenter=Bare())

    assert bench.learn(sent()) is None
    assert bench.kinds == [("red", "drawn")]
    assert "gives no example" in caplog.text


def test_images_of_another_model_are_read_anew(memory: FeedbackStore) -> None:
    Bench(memory).learn(sent())
    other = Bench(memory, parts={"weights_fingerprint": "other colours"})

    other.learn(sent())

    assert other.corrections[0].model.startswith("other colours")
    assert other.segmenter.calls == 1


def _stored_bytes(name: str, folder: Path, server: RedisServer) -> bytes:
    if name == "sqlite":
        return b"".join(f.read_bytes() for f in folder.rglob("*") if f.is_file())
    with server.client() as client:
        found = []
        for key in client.scan_iter("*"):
            read: dict[bytes, Callable[[], Any]] = {
                b"hash": lambda key=key: client.hgetall(key),
                b"zset": lambda key=key: client.zrange(key, 0, -1),
                b"set": lambda key=key: client.smembers(key),
                b"string": lambda key=key: client.get(key),
            }
            found.append(key + repr(read[client.type(key)]()).encode())
        return b"".join(found)


@pytest.mark.parametrize("name", ["redis", "sqlite"])
def test_no_store_holds_who_the_person_is(
    name: str, redis_server: RedisServer, redis_url: str, tmp_path: Path
) -> None:
    url = redis_url if name == "redis" else None
    with contextlib.closing(open_feedback_store(url, tmp_path)) as store:
        event = parse_event(sent())
        assert event is not None
        store.add_event("model", event.id, event.to_bytes())
        Bench(store).learn(sent())
        data = _stored_bytes(name, tmp_path, redis_server)

    assert b"annotated:7:31" in data
    assert b'"drawn"' in data
    for text in (*PERSON, "4711"):
        assert text.encode() not in data
