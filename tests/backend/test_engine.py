import json
import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from backend.doctor.examination import _open_annotator
from backend.engine import (
    Engine,
    build_engine,
    control_defaults,
    image_fetcher,
    segmenter_options,
)
from backend.errors import SettingsError
from backend.feedback import Teacher, open_feedback_store
from backend.inference import LazySegmenter, model_version
from backend.server import build_app
from backend.server.wsgi import app_from_environment, build_backlog
from backend.settings import Settings
from segmenter import (
    MODES,
    ModelSource,
    SegmenterError,
    SegmenterOptions,
    WeightsNotFound,
    recipe_options,
)
from tests.backend.feedback.test_teaching import correction
from tests.fakes import (
    OPTIONS,
    RED_AND_BLUE,
    ColourSegmenter,
    MemoryCache,
    brush_config,
    picture,
)
from tests.label_studio_stand_in import TOKEN, LabelStudioStandIn

BODY = {
    "tasks": [{"id": 1, "data": {"image": picture("red", "blue", size_yx=(24, 32))}}],
    "label_config": RED_AND_BLUE,
}


def weights_folder(folder: Path, content: bytes = b"weights") -> Path:
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_bytes(content)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that has a fingerprint and cannot be loaded."""
    return weights_folder(tmp_path / "my-model")


def settings_for(tmp_path: Path, model: Path, **variables: str) -> Settings:
    return Settings.from_env(
        {"MODEL": str(model), "CACHE_DIR": str(tmp_path / "cache"), **variables}
    )


def version_with(
    tmp_path: Path, model: Path, schema: str = RED_AND_BLUE, **variables: str
) -> str:
    """What a backend of these settings tells Label Studio."""
    app = build_app(settings_for(tmp_path, model, **variables), preload=False)
    answer = app.test_client().post("/setup", json={"schema": schema})
    told: str = answer.json["model_version"]
    return told


def test_model_version_is_one_readable_string(tmp_path: Path, model: Path) -> None:
    version = version_with(tmp_path, model, schema="")

    assert isinstance(version, str)
    assert version.startswith("diffsegmenter-my-model-fast-")
    assert len(version.rpartition("-")[2]) == 8
    app = build_app(settings_for(tmp_path, model), preload=False)
    assert app.test_client().get("/versions").json == {"versions": [version]}
    assert app.test_client().get("/health").json["model_version"] == version


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"MODEL_SCORE_THRESHOLD": "0.4"}, id="threshold"),
        pytest.param({"PRESENCE": "paper"}, id="presence"),
        pytest.param({"CAPTION": "on"}, id="caption"),
        pytest.param({"MODEL_MODE": "paper"}, id="mode"),
        pytest.param({"PRESENCE_THRESHOLD": "0.3"}, id="presence-threshold"),
        pytest.param({"BOUNDARIES": "off"}, id="boundaries"),
        pytest.param({"BACKGROUND_WORDS": "sky"}, id="background-words"),
        pytest.param({"ASPECT": "squash"}, id="aspect"),
        pytest.param({"MAX_WINDOWS": "4"}, id="windows"),
        pytest.param({"DTYPE": "bfloat16"}, id="dtype"),
        pytest.param({"OVERLAP": "independent"}, id="overlap"),
        pytest.param({"REGIONS": "part"}, id="regions"),
        pytest.param({"MIN_AREA": "0.1"}, id="smallest-area"),
        pytest.param({"MAX_REGIONS": "3"}, id="most-regions"),
        pytest.param({"POLYGON_TOLERANCE": "0.1"}, id="polygons"),
        pytest.param({"schema": brush_config('<Label value="red"/>')}, id="labels"),
    ],
)
def test_model_version_changes_with_what_changes_a_mask(
    variables: dict[str, str], tmp_path: Path, model: Path
) -> None:
    assert version_with(tmp_path, model, **variables) != version_with(tmp_path, model)


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"PORT": "9999", "THREADS": "2"}, id="server"),
        pytest.param({"CACHE_TTL_S": "5"}, id="cache"),
        pytest.param({"DEVICE": "cpu"}, id="device"),
        pytest.param({"DTYPE": "auto"}, id="default-dtype"),
        pytest.param({"BATCH_SIZE": "2", "COMPILE": "on"}, id="speed"),
        pytest.param(
            {"MODEL_SCORE_THRESHOLD": str(SegmenterOptions().threshold)},
            id="default-threshold",
        ),
        pytest.param({"BASIC_AUTH_USER": "", "IMAGE_MAX_BYTES": "9"}, id="limits"),
        pytest.param({"LEARNING": "off"}, id="nothing-learned"),
        pytest.param({"LEARN_AFTER": "3", "LEARN_CACHE_IMAGES": "9"}, id="learning"),
    ],
)
def test_model_version_stays_with_what_changes_no_mask(
    variables: dict[str, str], tmp_path: Path, model: Path
) -> None:
    assert version_with(tmp_path, model, **variables) == version_with(tmp_path, model)


def test_model_version_changes_with_the_weights_and_not_with_their_place(
    tmp_path: Path, model: Path
) -> None:
    moved = weights_folder(tmp_path / "elsewhere" / "my-model")
    trained_on = weights_folder(tmp_path / "new" / "my-model", b"WEIGHTS")

    version = version_with(tmp_path, model)

    assert version_with(tmp_path, moved) == version
    assert version_with(tmp_path, trained_on) != version


def test_model_version_changes_with_the_revision() -> None:
    versions = {
        model_version(ModelSource.parse(name), OPTIONS, "fast")
        for name in ("org/sd@abc", "org/sd@def", "org/sd", "other/sd@abc")
    }

    assert len(versions) == 4


def test_segmenter_options_takes_over_what_the_operator_set() -> None:
    settings = Settings.from_env(
        {"MODEL_SCORE_THRESHOLD": "0.4", "PRESENCE": "paper", "CAPTION": "off"}
    )

    found = segmenter_options(settings)

    assert found == {
        mode: SegmenterOptions(
            mode=mode, threshold=0.4, presence="paper", caption=False
        )
        for mode in MODES
    }
    assert segmenter_options(Settings.from_env({})) == OPTIONS


def test_as_published_is_for_paper_mode_alone() -> None:
    found = segmenter_options(Settings.from_env({"AS_PUBLISHED": "on"}))

    assert found["paper"] == SegmenterOptions(mode="paper", as_published=True)
    assert found["fast"] == SegmenterOptions()


def test_control_defaults_are_each_mode_s_own_where_nothing_is_set() -> None:
    untouched = control_defaults(Settings.from_env({"MODEL_MODE": "paper"}))

    assert untouched.mode == "paper"
    for mode, options in OPTIONS.items():
        cut = untouched.cuts[mode]
        assert (cut.threshold_01, cut.boundaries) == (
            options.threshold,
            options.boundaries,
        )
    same = control_defaults(Settings.from_env({"MODEL_SCORE_THRESHOLD": "0.3"}))
    assert {cut.threshold_01 for cut in same.cuts.values()} == {0.3}


def test_build_app_loads_nothing_when_told_so(tmp_path: Path, model: Path) -> None:
    before = set(threading.enumerate())

    app = build_app(settings_for(tmp_path, model), preload=False)
    health = app.test_client().get("/health")

    # Those of the backlog and of corrections wait for work.
    assert {t.name for t in set(threading.enumerate()) - before} <= {
        "backlog",
        "feedback",
    }
    assert health.json["status"] == "UP"
    assert health.json["model"] == "loading"


@pytest.mark.parametrize(("wanted", "status"), [("on", "accepted"), ("off", "ignored")])
def test_build_app_takes_new_tasks_where_the_operator_wants_it(
    wanted: str,
    status: str,
    studio: LabelStudioStandIn,
    tmp_path: Path,
    model: Path,
) -> None:
    settings = settings_for(
        tmp_path,
        model,
        LABEL_STUDIO_URL=studio.url,
        LABEL_STUDIO_API_KEY=TOKEN,
        PREANNOTATE_NEW_TASKS=wanted,
    )
    body = {"action": "TASKS_CREATED", "project": {"id": 99}, "tasks": [{"id": 1}]}

    client = build_app(settings, preload=False).test_client()

    assert client.post("/webhook", json=body).json == {"status": status}


def test_build_backlog_does_without_workers_on_a_cluster(
    tmp_path: Path, model: Path
) -> None:
    settings = settings_for(tmp_path, model, REDIS_URL="redis+cluster://127.0.0.1:1")

    backlog = build_backlog(settings, build_engine(settings))

    assert backlog.queue is None
    assert backlog.work is None


def test_build_app_starts_while_redis_is_down_and_hides_its_password(
    tmp_path: Path, model: Path
) -> None:
    settings = settings_for(tmp_path, model, REDIS_URL="redis://:s3cret@127.0.0.1:1/0")

    answer = build_app(settings, preload=False).test_client().get("/health")

    assert answer.json["cache"] == "Redis at 127.0.0.1:1/0"


def test_build_app_asks_for_the_password_of_the_settings(
    tmp_path: Path, model: Path
) -> None:
    settings = settings_for(
        tmp_path, model, BASIC_AUTH_USER="me", BASIC_AUTH_PASS="word"
    )
    client = build_app(settings, preload=False).test_client()

    assert client.get("/health").status_code == 401
    assert client.get("/health", auth=("me", "word")).status_code == 200


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        pytest.param({"MODEL": "pokcet"}, WeightsNotFound, id="misspelt-model"),
        pytest.param(
            {"REDIS_URL": "redis://localhost:port"}, SettingsError, id="redis-url"
        ),
    ],
)
def test_build_app_refuses_settings_that_cannot_be(
    variables: dict[str, str], error: type[Exception], tmp_path: Path
) -> None:
    settings = Settings.from_env({"CACHE_DIR": str(tmp_path), **variables})

    with pytest.raises(error):
        build_app(settings, preload=False)


def test_app_from_environment_names_the_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "high")
    monkeypatch.setenv("THREADS", "0")

    with pytest.raises(SettingsError, match=r"(?s)PORT='high'.*THREADS='0'"):
        app_from_environment()


class Loader:
    """Raises the errors given, one per call, then gives a segmenter."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> ColourSegmenter:
        self.calls += 1
        time.sleep(0.05)  # long enough for another thread to come in between
        if self.errors:
            raise self.errors.pop(0)
        return ColourSegmenter()


def test_segmenter_on_demand_loads_once_for_many_threads() -> None:
    loader = Loader()
    on_demand = LazySegmenter(loader)
    assert on_demand.status == "loading"
    start = threading.Barrier(8)

    def get(_: int) -> Any:
        start.wait(10)
        return on_demand.get()

    with ThreadPoolExecutor(8) as pool:
        segmenters = list(pool.map(get, range(8)))

    assert loader.calls == 1
    assert len({id(segmenter) for segmenter in segmenters}) == 1
    assert on_demand.status == "ready"


def test_segmenter_on_demand_tries_again_after_a_failure() -> None:
    loader = Loader(WeightsNotFound("sd", "the hub is down"))
    on_demand = LazySegmenter(loader)

    with pytest.raises(WeightsNotFound):
        on_demand.get()
    after_failure = on_demand.status
    on_demand.get()
    on_demand.get()

    assert after_failure.startswith("failed: The model 'sd' cannot be loaded")
    assert on_demand.status == "ready"
    assert loader.calls == 2


def test_load_in_background_logs_a_failure_and_leaves_the_next_try_to_a_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    on_demand = LazySegmenter(Loader(SegmenterError("the hub is down")))

    on_demand.load_in_background()
    for thread in threading.enumerate():
        if thread.name == "load-model":
            thread.join(10)

    assert on_demand.status == "failed: the hub is down"
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "the hub is down" in record.getMessage()
    assert on_demand.get() is on_demand.get()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of a real model, without companions."""
    from tests.segmenter.tiny_models import make_parts, save_parts

    folder = tmp_path_factory.mktemp("tiny")
    save_parts(folder, make_parts())
    return folder


def test_predict_answers_503_until_the_weights_are_there(
    tmp_path: Path, tiny_model: Path
) -> None:
    model = tmp_path / "arriving"
    model.mkdir()
    settings = settings_for(tmp_path, model, PRESENCE="off")
    client = build_app(settings, preload=False).test_client()
    version = client.post("/setup", json={"schema": RED_AND_BLUE}).json["model_version"]

    failed = client.post("/predict", json=BODY)
    health = client.get("/health")
    for part in tiny_model.iterdir():
        (model / part.name).symlink_to(part)
    retried = client.post("/predict", json=BODY)

    assert failed.status_code == 503
    assert failed.json["error"]["type"] == "WeightsNotFound"
    assert str(model) in failed.json["error"]["message"]
    assert "did not load" in failed.json["error"]["message"]
    assert "Use 'pocket'" in failed.json["error"]["message"]
    assert health.status_code == 200
    assert health.json["model"].startswith("failed: The model")
    assert retried.status_code == 200
    (prediction,) = retried.json["results"]
    assert prediction["model_version"] == version
    assert client.get("/health").json["model"] == "ready"


def test_predict_answers_503_when_the_device_is_not_there(
    tmp_path: Path, tiny_model: Path
) -> None:
    settings = settings_for(tmp_path, tiny_model, DEVICE="cuda:99", PRESENCE="off")
    client = build_app(settings, preload=False).test_client()

    answer = client.post("/predict", json=BODY)

    assert answer.status_code == 503
    assert (
        "DEVICE=cuda:99 with DTYPE=auto cannot run it"
        in answer.json["error"]["message"]
    )
    assert client.get("/health").json["model"].startswith("failed: ")


def test_predict_does_not_blame_the_device_for_a_model_s_fault(
    tmp_path: Path, tiny_model: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "torn")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    settings = settings_for(tmp_path, model, PRESENCE="off")
    client = build_app(settings, preload=False).test_client()

    answer = client.post("/predict", json=BODY)

    assert answer.status_code == 503
    message = answer.json["error"]["message"]
    assert f"the weights in {model}/unet lack conv_in.weight" in message
    assert "DEVICE" not in message


def test_workers_with_another_threshold_have_another_queue() -> None:
    def queue_name(**variables: str) -> str:
        return build_engine(Settings.from_env(variables)).predictor.queue_name

    names = [
        queue_name(),
        queue_name(MODEL_SCORE_THRESHOLD="0.3"),
        queue_name(OVERLAP="independent"),
        queue_name(MIN_AREA="0.01"),
        queue_name(MODEL_MODE="paper"),
        queue_name(DTYPE="bfloat16"),
    ]

    assert len(set(names)) == len(names)
    assert queue_name() == queue_name(PORT="1234")
    assert all(name.startswith("diffsegmenter-jobs-pocket-") for name in names)


def test_scores_of_another_precision_have_another_key() -> None:
    def fingerprint(**variables: str) -> str:
        scorer = build_engine(Settings.from_env(variables)).predictor.scorer
        return scorer.weights_fingerprint

    assert fingerprint(DTYPE="bfloat16") != fingerprint()
    assert fingerprint(DTYPE="auto") == fingerprint()


def taught_engine(tmp_path: Path, model: Path, **variables: str) -> Engine:
    """One whose project 7 has learned something of a label."""
    engine = build_engine(
        settings_for(tmp_path, model, **variables), load=ColourSegmenter
    )
    store = open_feedback_store(None, tmp_path / "cache")
    name = engine.predictor.scorer.maps_name("fast")
    for number in range(8):
        store.put(correction(number, model=name))
    Teacher(store=store, leases=MemoryCache(), models={name}, learn_after=0).teach("7")
    return engine


def test_what_a_project_learned_is_found_where_it_is_kept(
    tmp_path: Path, model: Path
) -> None:
    engine = taught_engine(tmp_path, model)
    zork = brush_config('<Label value="red"/><Label value="zork" model_prompt=""/>')

    plan = engine.predictor.plan(zork, "7.1795346673")

    assert plan.heads.keys() == {"fast"}
    assert plan.version != engine.predictor.model_version(zork)
    assert engine.predictor.model_version(zork, "8") == (
        engine.predictor.model_version(zork)
    )


def test_another_model_has_not_learned_what_this_one_did(
    tmp_path: Path, model: Path
) -> None:
    taught_engine(tmp_path, model)

    for variables in ({"PRESENCE": "off"}, {"MODEL": str(_other(tmp_path))}):
        other = build_engine(settings_for(tmp_path, model, **variables))

        assert other.predictor.plan(RED_AND_BLUE, "7").heads == {}


def _other(folder: Path) -> Path:
    found = folder / "other"
    return found if found.exists() else weights_folder(found, b"other weights")


def test_learning_that_is_off_uses_nothing_of_what_was_learned(
    tmp_path: Path, model: Path
) -> None:
    engine = taught_engine(tmp_path, model, LEARNING="off")

    assert engine.feedback is engine.teacher is engine.predictor.scorer.layers is None
    assert engine.predictor.plan(RED_AND_BLUE, "7").heads == {}


def test_doctor_and_server_tell_the_same_version_of_a_taught_project(
    tmp_path: Path, model: Path
) -> None:
    engine = taught_engine(tmp_path, model)
    settings = settings_for(tmp_path, model)

    with ExitStack() as opened:
        told = _open_annotator(
            settings, opened, tmp_path / "empty", image_fetcher(settings)
        ).model_version(RED_AND_BLUE, "7")

    assert told == engine.predictor.setup_version(RED_AND_BLUE, "7.1")
    assert told != engine.predictor.model_version(RED_AND_BLUE)


def test_options_follow_the_recipe_of_the_model_s_family(model: Path) -> None:
    config = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
    (model / "unet" / "config.json").write_text(json.dumps(config))

    fast = segmenter_options(Settings.from_env({"MODEL": str(model)}))["fast"]
    own = {"MODEL": str(model), "BACKGROUND_WORDS": ",", "MODEL_SCORE_THRESHOLD": "0.5"}
    chosen = segmenter_options(Settings.from_env(own))["fast"]

    assert fast == recipe_options("sd1", "fast", {})
    assert chosen == replace(fast, background_words=(), threshold=0.5)
    versions = {
        model_version(ModelSource.parse(str(model)), {"fast": one}, "fast")
        for one in (fast, replace(chosen, threshold=fast.threshold), SegmenterOptions())
    }
    assert len(versions) == 3


def test_a_model_that_cannot_be_leaves_options_to_be_asked_for() -> None:
    found = segmenter_options(Settings.from_env({"MODEL": "no such model"}))

    assert found == OPTIONS
