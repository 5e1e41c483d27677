import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from backend.doctor.findings import Finding
from backend.doctor.model import check_device, check_loading, check_weights
from segmenter import WeightsNotFound
from segmenter.source import POCKET_DIR
from tests.backend.doctor.checks import only, outcome, serve_json, settings
from tests.fakes import ColourSegmenter, make_predictor
from tests.redis_server import free_port
from tests.web_server import WebServer, running_web_server

HUB_ID = "some-one/some-model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    """Stands for the hub, beside an empty cache of downloads."""
    with running_web_server() as server:
        # The library reads the environment once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


def check(model: str) -> tuple[Finding, bool]:
    (finding,), is_here = outcome(check_weights(settings(MODEL=model)))
    return finding, is_here


@pytest.mark.parametrize("model", ["pocket", "pocket-mmdit"])
def test_check_weights_says_what_the_pocket_models_are_for(model: str) -> None:
    finding, is_here = check(model)

    assert is_here
    assert finding.level == "warning"
    assert finding.remedy is not None
    assert "MODEL=stable-diffusion-v1-5/" in finding.remedy


def test_check_weights_accepts_a_folder(tmp_path: Path) -> None:
    shutil.copytree(POCKET_DIR / "unet", tmp_path / "unet")

    finding, is_here = check(str(tmp_path))

    assert is_here
    assert finding.level == "ok"


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("pocket", "licence Apache-2.0"),
        ("pocket-mmdit", "pocket-mmdit: licence Apache-2.0"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "OpenRAIL-M"),
        ("stabilityai/stable-diffusion-2-1", "no longer answer"),
        ("stabilityai/stable-diffusion-3.5-medium", "gated: accept the terms"),
        (HUB_ID, "licence not known here"),
    ],
)
def test_check_weights_names_licence_and_gate(model: str, said: str) -> None:
    finding, _ = check(model)

    assert said in finding.details[-1]


def test_check_weights_names_the_recipe(tmp_path: Path) -> None:
    shutil.copytree(POCKET_DIR / "unet", tmp_path / "unet")

    assert "read by the recipe pocket" in check(str(tmp_path))[0].details
    transformer = tmp_path / "unet" / "config.json"
    transformer.write_text('{"_class_name": "SD3Transformer2DModel"}')
    assert "read by the recipe sd3" in check(str(tmp_path))[0].details


def test_check_weights_reports_what_is_no_model() -> None:
    finding, is_here = check("./nowhere")

    assert not is_here
    assert finding.level == "problem"
    assert "'./nowhere' cannot be loaded" in finding.seen
    assert finding.remedy is not None
    assert finding.remedy.startswith("Use 'pocket'")


def test_check_weights_finds_what_was_downloaded(
    hub: WebServer, tmp_path: Path
) -> None:
    stored = tmp_path / "models--some-one--some-model"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("abc")
    (stored / "snapshots" / "abc" / "unet").mkdir(parents=True)
    (stored / "snapshots" / "abc" / "unet" / "config.json").write_text("{}")

    finding, is_here = check(HUB_ID)

    assert is_here
    assert finding.level == "ok"
    assert hub.seen == []
    assert check(f"{HUB_ID}@other")[1] is False


def test_check_weights_tells_how_to_download_what_the_hub_has(hub: WebServer) -> None:
    serve_json(hub, f"/api/models/{HUB_ID}/revision/v1", {"id": HUB_ID, "siblings": []})

    finding, is_here = check(f"{HUB_ID}@v1")

    assert not is_here
    assert finding.level == "warning"
    assert finding.remedy is not None
    assert f"segment PICTURE.jpg cat --model {HUB_ID}@v1" in finding.remedy


@pytest.mark.parametrize(
    ("code", "status", "seen"),
    [
        ("RepoNotFound", 404, "not on the hub"),
        ("RevisionNotFound", 404, "not on the hub"),
        ("GatedRepo", 403, "wants its terms to be accepted"),
        ("", 503, "the hub does not answer"),
    ],
)
def test_check_weights_reports_what_the_hub_refuses(
    hub: WebServer, code: str, status: int, seen: str
) -> None:
    hub.serve(
        f"/api/models/{HUB_ID}/revision/main",
        b"{}",
        status=status,
        headers={"X-Error-Code": code},
    )

    finding, is_here = check(HUB_ID)

    assert not is_here
    assert finding.level == "problem"
    assert seen in finding.seen


def test_check_weights_reports_a_hub_that_is_out_of_reach(
    hub: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")

    finding, _ = check(HUB_ID)

    assert finding.level == "problem"
    assert "the hub does not answer" in finding.seen


def test_check_weights_asks_nobody_where_that_is_forbidden(
    hub: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    finding, _ = check(HUB_ID)

    assert hub.seen == []
    assert "HF_HUB_OFFLINE forbids" in finding.seen


def test_check_device_says_what_auto_becomes() -> None:
    pocket = only(check_device(settings()))
    real = only(check_device(settings(MODEL=HUB_ID)))

    assert pocket.level == "ok"
    if torch.cuda.is_available():
        assert "auto takes cuda:0" in real.seen
    else:
        assert pocket.seen == "auto takes the CPU"
        assert real.level == "warning"
        assert f"torch {torch.__version__} sees no CUDA device" in real.seen


def test_check_device_takes_a_cpu_that_was_asked_for() -> None:
    (finding,), is_there = outcome(check_device(settings(DEVICE="cpu", MODEL=HUB_ID)))

    assert is_there
    assert finding.level == "ok"


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_check_device_reports_one_that_is_not_there(device: str) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        device = "cuda"

    (finding,), is_there = outcome(check_device(settings(DEVICE=device)))

    assert not is_there
    assert finding.level == "problem"
    assert finding.remedy is not None
    assert finding.remedy.startswith("Set DEVICE=auto")


def test_check_loading_loads_once() -> None:
    loads: list[int] = []
    segmenter = ColourSegmenter()

    def load(timeout_s: float) -> Any:
        loads.append(1)
        return segmenter

    predictor = make_predictor(segmenter, segmenter=load)

    (finding,), loaded = outcome(check_loading(lambda: predictor, is_possible=True))

    assert loads == [1]
    assert loaded is predictor
    assert finding.level == "ok"


def test_check_loading_reports_weights_that_are_damaged(tmp_path: Path) -> None:
    def load(timeout_s: float) -> Any:
        raise WeightsNotFound("x", "unet did not load")

    predictor = make_predictor(ColourSegmenter(), segmenter=load)

    (finding,), loaded = outcome(check_loading(lambda: predictor, is_possible=True))

    assert loaded is None
    assert finding.level == "problem"
    assert "unet did not load" in finding.seen


def test_check_loading_reports_weights_that_cannot_be_read() -> None:
    def build() -> Any:
        raise WeightsNotFound("x", "unet/a.safetensors cannot be read")

    finding = only(check_loading(build, is_possible=True))

    assert finding.level == "problem"
    assert "unet/a.safetensors cannot be read" in finding.seen


def test_check_loading_is_skipped_where_it_would_download() -> None:
    def build() -> Any:
        raise AssertionError

    assert only(check_loading(build, is_possible=False)).level == "skipped"
