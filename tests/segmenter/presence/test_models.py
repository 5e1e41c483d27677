from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

from segmenter import WeightsNotFound
from segmenter.presence import load_captioner, load_image_text
from segmenter.source import ModelSource

CPU = torch.device("cpu")


def test_auxiliary_models_load_from_the_directory(model_dir: Path) -> None:
    source = ModelSource.parse(str(model_dir))

    captioner = load_captioner(source, device=CPU)
    image_text = load_image_text(source, device=CPU)

    assert type(captioner.model).__name__ == "BlipForConditionalGeneration"
    assert type(image_text.model).__name__ == "CLIPModel"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("loader", [load_captioner, load_image_text])
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_a_missing_auxiliary_model_is_looked_for_on_the_hub(
    loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "bare").mkdir()

    with pytest.raises(WeightsNotFound, match=r"Salesforce/blip|openai/clip"):
        loader(ModelSource.parse(str(tmp_path / "bare")), device=CPU)
