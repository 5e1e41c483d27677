"""A request goes down through the packages, once, and no call of it goes back up."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import backend
from backend.server import build_app
from backend.settings import Settings
from tests.clicking import CLICKABLE, point, task_with
from tests.fakes import ColourSegmenter, picture
from tests.rooms import LEAVES, arrows, levels
from tests.serving import predict_body

ROOT: Final = Path(backend.__file__).parent
LEVELS: Final = levels(arrows("backend"))

Step = tuple[str, str]
# What a project's labels have learned is asked for by a function that the composition
# root hands in; who keeps it is above who predicts with it.
HANDED_IN: Final = {("inference", "feedback")}


def room_of(frame: FrameType | None) -> str | None:
    """The package of the nearest frame of ours, from this one outwards."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT):
            room = file.relative_to(ROOT).parts[0].removesuffix(".py")
            return room if room in LEVELS else LEAVES
        frame = frame.f_back
    return None


@contextmanager
def walked() -> Iterator[list[Step]]:
    """The calls from one package into another while the block lasts, in any thread."""
    steps: list[Step] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            caller, callee = room_of(frame.f_back), room_of(frame)
            if caller is not None and callee is not None and caller != callee:
                steps.append((caller, callee))

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield steps
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


CLICK: Final = {
    "tasks": [task_with()],
    "label_config": CLICKABLE,
    "params": {"context": {"result": [point(20, 10)]}},
}


@pytest.mark.parametrize(
    ("body", "n_regions"),
    [
        pytest.param(predict_body(picture("red", "blue")), 2, id="task"),
        pytest.param(CLICK, 1, id="click"),
    ],
)
def test_predict_goes_down_through_the_packages_and_never_back_up(
    body: dict[str, Any], n_regions: int, tmp_path: Path
) -> None:
    segmenter = ColourSegmenter()
    app = build_app(
        Settings.from_env({"CACHE_DIR": str(tmp_path)}),
        preload=False,
        load=lambda: segmenter,
    )
    client = app.test_client()
    # Loads the model, which is asked for by those who put the parts together.
    client.post("/predict", json=predict_body(picture("red")))

    with walked() as steps:
        answer = client.post("/predict", json=body)

    assert answer.json is not None
    assert len(answer.json["results"][0]["result"]) == n_regions
    back_up = {(a, b) for a, b in steps if LEVELS[b] > LEVELS[a]}
    assert back_up <= HANDED_IN
    assert {room for step in steps for room in step} >= {
        *("server", "inference", "label_config", "images", "cache", "regions"),
        "label_studio",
    }
