"""Pictures in Label Studio's local storage: asked from it, or read from a mount."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.examples import PROJECTS, Example, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import PredictedTask, predict_project
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
_BOATS: Final = PROJECTS[0]
_PICTURE: Final = render_picture(Example(seed=1_000_047, size_yx=(128, 112)), "boat")
# What an address must quote, in folders and in the name.
_NAME: Final = Path("Häfen & Boote", "50% am Kai", "größte + schönste Nr. 1.png")


@pytest.fixture
def storage_dir(label_studio: LabelStudio, tmp_path: Path) -> Iterator[Path]:
    """A folder of Label Studio's local files with one picture in its depths."""
    folder = label_studio.local_files_dir / f"Bilder {tmp_path.name}"
    file = folder / _NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(_PICTURE.content)
    yield folder
    shutil.rmtree(folder)


def test_a_local_file_is_read_through_label_studio(
    api: LabelStudioApi, backend: Backend, storage_dir: Path
) -> None:
    project_id = _import_local_files(api, storage_dir)

    (task,) = predict_project(api, backend, project_id)

    _assert_boat(task)


def test_a_local_file_is_read_from_a_mount_that_label_studio_no_longer_serves(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    redis_server: RedisServer,
    storage_dir: Path,
    tmp_path: Path,
) -> None:
    project_id = _import_local_files(api, storage_dir)
    mount = tmp_path / "mount"
    # Where Label Studio's address for the file points to is empty from here on.
    shutil.copytree(storage_dir, mount / storage_dir.name)
    (storage_dir / _NAME).unlink()

    with running_backend(
        label_studio_url=label_studio.url,
        cache_dir=tmp_path / "cache",
        redis_url=redis_server.url,
        log_path=ARTIFACTS_DIR / "backend-mount.log",
        environment={"LOCAL_FILES_DOCUMENT_ROOT": str(mount)},
    ) as backend:
        (task,) = predict_project(api, backend, project_id)

    _assert_boat(task)


def _import_local_files(api: LabelStudioApi, folder: Path) -> int:
    project_id = api.create_project("Local files", _BOATS.label_config)
    (task,) = api.import_from_storage(
        "localfiles", project_id, path=str(folder), recursive_scan=True
    )
    assert "/data/local-files/?d=" in task["data"]["image"]
    return project_id


def _assert_boat(task: PredictedTask) -> None:
    stored = label_mask(task.prediction, "boat", _PICTURE.size_yx)
    assert intersection_over_union(stored, _PICTURE.truth["boat"]) > _IOU_FLOOR
