"""A control tag is one file: configs are read for it, regions written by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import backend.regions.tags
from backend.label_config import read_label_config
from backend.regions import Canvas, control_tags, paint, prediction
from backend.types import CutOptions
from segmenter import ScoreMaps
from tests.fakes import defaults_of

ELLIPSE: Final = """
from backend.regions.components import as_part, percent
from backend.regions.control_tags import ControlTag

def encode(shape, size_yx, cut):
    rows, columns = size_yx
    y0, x0, y1, x1 = as_part(shape, size_yx).box_yxyx
    x, y = percent((x0 + x1) / 2, of=columns), percent((y0 + y1) / 2, of=rows)
    radii = percent((x1 - x0) / 2, of=columns), percent((y1 - y0) / 2, of=rows)
    return {"x": x, "y": y, "radiusX": radii[0], "radiusY": radii[1], "rotation": 0}

TAG = ControlTag(element="Ellipse", order=9, one_region_per_part=True, encode=encode)
"""
CONFIG: Final = """<View>
  <Image name="photo" value="$image"/>
  <EllipseLabels name="tag" toName="photo"><Label value="dog"/></EllipseLabels>
</View>"""
DEFAULTS: Final = defaults_of(CutOptions(threshold_01=0.5, min_area_01=0))


@pytest.fixture
def ellipses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file more among the tags."""
    (tmp_path / "ellipse.py").write_text(ELLIPSE)
    folders = [*backend.regions.tags.__path__, str(tmp_path)]
    monkeypatch.setattr(backend.regions.tags, "__path__", folders)
    control_tags.cache_clear()
    yield
    control_tags.cache_clear()


def test_tags_come_in_the_order_in_which_tools_are_chosen() -> None:
    assert tuple(control_tags()) == (
        *("brush", "bitmask", "polygon", "rectangle"),
        "keypoint",
    )


def test_one_file_of_ten_lines_adds_a_control_tag(ellipses: None) -> None:
    config = read_label_config(CONFIG, DEFAULTS)
    scores = np.zeros((1, 4, 8), np.float16)
    scores[0, 1:3, 2:6] = 1
    maps = ScoreMaps(
        labels=("dog",), maps=scores, presence=np.ones(1, np.float32), size_yx=(4, 8)
    )
    canvas = Canvas(task_id=1, pixels=np.zeros((4, 8, 3), np.uint8))

    (region,) = paint(config.controls[0], maps, canvas)

    assert region["type"] == "ellipselabels"
    assert region["value"]["ellipselabels"] == ["dog"]
    assert region["value"]["x"] == region["value"]["y"] == 50
    answer = prediction([region], model_version="v", score=0.5)
    assert config.problems(answer) == []


def test_a_refused_config_names_the_tag_that_a_file_added(ellipses: None) -> None:
    with pytest.raises(Exception, match="<RectangleLabels> or <EllipseLabels>"):
        read_label_config('<View><Image name="a" value="$a"/></View>', DEFAULTS)
