"""An image source is one file: it is found, and asked in its order."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest

import backend.images.sources
from backend.errors import ImageRefused
from backend.images import ImageFetcher
from backend.types import LabelStudioAccess
from tests.fakes import encoded, striped

NOWHERE: Final = LabelStudioAccess(url=None)
DRAWER: Final = """
from pathlib import Path
ORDER = 50

class Drawer:
    def read(self, request):
        scheme, _, name = request.address.partition("drawer:")
        return None if scheme else (Path(__file__).parent / name).read_bytes()

def open_source(limits):
    return Drawer()
"""


def test_one_file_of_ten_lines_adds_an_image_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drawer.py").write_text(DRAWER)
    (tmp_path / "a.png").write_bytes(encoded(striped("red", "blue")))
    folders = [*backend.images.sources.__path__, str(tmp_path)]
    monkeypatch.setattr(backend.images.sources, "__path__", folders)

    image = ImageFetcher().fetch("drawer:a.png", access=NOWHERE)

    np.testing.assert_array_equal(image.pixels, striped("red", "blue"))


def test_what_no_source_takes_is_refused() -> None:
    with pytest.raises(ImageRefused, match=r"'drawer:a\.png' is not an address"):
        ImageFetcher().fetch("drawer:a.png", access=NOWHERE)
