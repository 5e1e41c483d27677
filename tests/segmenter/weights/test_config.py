"""The configuration that tells a model's family."""

from pathlib import Path

import huggingface_hub.constants
import pytest

from segmenter.source import ModelSource
from segmenter.weights import read_config


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
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "abc"
    (snapshot / "transformer").mkdir(parents=True)
    (snapshot / "transformer" / "config.json").write_text('{"_class_name": "Toy"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")

    source = ModelSource.parse("some/model")

    assert read_config(source, "transformer") == {"_class_name": "Toy"}
    assert read_config(source, "unet") is None
