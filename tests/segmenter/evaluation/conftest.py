"""Fixtures for tests of evaluations: the pocket world as a data set, and its model."""

from pathlib import Path

import pytest

from segmenter import load_segmenter
from segmenter.evaluation.voc_folder import VocFolder, open_voc_folder
from segmenter.pocket.voc import write_voc_folder
from segmenter.predictor import Segmenter

N_SCENES = 6


@pytest.fixture(scope="session")
def pocket_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes, wider than high, in VOC layout; nobody changes the files."""
    root = tmp_path_factory.mktemp("pocket")
    write_voc_folder(root, n_scenes=N_SCENES, size_yx=(96, 160))
    return root


@pytest.fixture(scope="session")
def pocket_folder(pocket_root: Path) -> VocFolder:
    """The same, opened."""
    return open_voc_folder(pocket_root)


@pytest.fixture(scope="session")
def pocket() -> Segmenter:
    """The bundled model in fast mode."""
    return load_segmenter("pocket", device="cpu")
