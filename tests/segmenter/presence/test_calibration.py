import json
from pathlib import Path
from typing import Any

import pytest

from segmenter import ModelSource, WeightsNotFound
from segmenter.presence.calibration import NEGATIVES, Calibration, load_calibration

GOOD = {
    "negatives": ["sky", "wall"],
    "by_text": [1, 2.5],
    "by_text_and_maps": [0.5, 1, 2],
}


def load(folder: Path, content: Any) -> Calibration:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "presence.json").write_text(text)
    return load_calibration(ModelSource.parse(str(folder)))


def test_load_calibration_reads_what_lies_beside_a_model(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == Calibration(
        negatives=("sky", "wall"),
        by_text=(1.0, 2.5),
        by_text_and_maps=(0.5, 1.0, 2.0),
    )


@pytest.mark.parametrize("without", [{}, {"by_text_and_maps": None}], ids=str)
def test_maps_say_nothing_where_they_were_not_calibrated(
    tmp_path: Path, without: dict[str, None]
) -> None:
    fields = {k: v for k, v in GOOD.items() if k != "by_text_and_maps"} | without

    assert load(tmp_path, fields).by_text_and_maps is None


def test_a_model_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    for source in (
        ModelSource.parse(str(tmp_path)),
        ModelSource.parse("stable-diffusion-v1-5/stable-diffusion-v1-5"),
    ):
        assert load_calibration(source) == Calibration()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{", id="not-json"),
        pytest.param("[]", id="a-list"),
        pytest.param({**GOOD, "by_text": [1]}, id="a-number-too-few"),
        pytest.param({**GOOD, "by_text": ["a", "b"]}, id="not-numbers"),
        pytest.param({**GOOD, "by_text_and_maps": 3}, id="one-number"),
        pytest.param({"by_text": [1, 2]}, id="no-negatives"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsNotFound, match=r"presence\.json cannot be read"):
        load(tmp_path, content)


def test_the_negatives_are_words_each_once() -> None:
    assert len(set(NEGATIVES)) == len(NEGATIVES) > 90
    assert "traffic light" in NEGATIVES
    assert all(word == word.strip() and word for word in NEGATIVES)
