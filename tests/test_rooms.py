"""The reader of rooms and arrows, on a small house."""

from graphlib import CycleError
from pathlib import Path

import pytest

from tests.rooms import LEAVES, arrows, levels, purposes, reduced


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two rooms on leaf files, an engine on both, and a command on top."""
    files = {
        "__init__.py": '"""A house."""',
        "errors.py": "",
        "types.py": "from house.errors import Bad",
        "engine.py": '"""Puts it together."""\nfrom house.cache import store\n'
        "from house.images.fetcher import fetch",
        "images/__init__.py": '"""Address in,\npixels out. Knows no cache."""\n'
        "from .fetcher import fetch",
        "images/fetcher.py": "import json\nfrom .. import types\n"
        "from . import decoding",
        "images/decoding.py": "from ..errors import Bad",
        "cache/__init__.py": "def store():\n    import house.errors",
        "cli/__init__.py": "from house import engine\nfrom house.images import fetch",
        "__main__.py": "from house.cli import main",
    }
    for name, text in files.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_arrows_are_between_rooms_whatever_form_an_import_has(house: Path) -> None:
    assert arrows("house", house) == {
        ("cli", "engine"),
        ("cli", "images"),
        ("engine", "cache"),
        ("engine", "images"),
        ("images", LEAVES),
        ("cache", LEAVES),
    }


def test_a_package_that_hands_names_on_is_a_room(house: Path) -> None:
    door = house / "house" / "__init__.py"
    door.write_text("from house.engine import run")
    user = house / "house" / "cli" / "__init__.py"
    user.write_text("from house import run")

    assert {("house", "engine"), ("cli", "house")} <= arrows("house", house)


def test_levels_count_from_the_ground(house: Path) -> None:
    assert levels(arrows("house", house)) == {
        LEAVES: 1,
        "images": 2,
        "cache": 2,
        "engine": 3,
        "cli": 4,
    }


def test_reduced_leaves_out_what_a_detour_stands_for(house: Path) -> None:
    found = arrows("house", house)

    assert found - reduced(found) == {("cli", "images")}


def test_rooms_that_import_each_other_have_no_level(house: Path) -> None:
    (house / "house" / "cache" / "back.py").write_text("import house.engine")

    with pytest.raises(CycleError, match="engine"):
        levels(arrows("house", house))


def test_purposes_are_first_sentences_and_names_of_leaf_files(house: Path) -> None:
    assert purposes("house", house) == {
        "engine": "Puts it together",
        "images": "Address in, pixels out",
        "cache": "",
        "cli": "",
        LEAVES: "`errors.py`, `types.py`",
    }
