"""The configuration that tells a model's family."""

from pathlib import Path

import huggingface_hub.constants
import pytest

from segmenter.source import ModelSource
from segmenter.weights import read_config
from tests.web_server import running_web_server


@pytest.mark.parametrize("text", [None, "", "{not json", "[]", '"UNet2DModel"', "\xff"])
def test_what_is_no_configuration_is_none(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "unet").mkdir()
    if text is not None:
        (tmp_path / "unet" / "config.json").write_text(text, "latin-1")

    assert read_config(ModelSource.parse(str(tmp_path)), "unet") is None


def test_a_configuration_is_read_from_a_directory() -> None:
    found = read_config(ModelSource.parse("pocket"), "unet")

    assert found is not None
    assert found["_class_name"] == "UNet2DConditionModel"


def test_of_a_hub_id_it_is_read_from_the_cache_without_asking_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "abc"
    (snapshot / "transformer").mkdir(parents=True)
    (snapshot / "transformer" / "config.json").write_text('{"_class_name": "Toy"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")

    with running_web_server() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        found = read_config(ModelSource.parse("some/model"), "transformer")

        assert found == {"_class_name": "Toy"}
        assert hub.seen == []


@pytest.mark.usefixtures("offline")
def test_what_is_not_cached_is_none_where_the_hub_may_not_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    assert read_config(ModelSource.parse("some/model"), "unet") is None
