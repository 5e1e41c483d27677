"""Label Studio below a path of another server: a real nginx before a real one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import running_backend
from tests.e2e.examples import PROJECTS, Example, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi, api_with_legacy_token
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.object_store import ObjectStore
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.reverse_proxy import running_label_studio_below
from tests.e2e.seeding import PredictedTask, predict_project
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
_PREFIX: Final = "/label-studio"
_BOATS: Final = PROJECTS[0]
_PICTURE: Final = render_picture(Example(seed=1_000_072, size_yx=(120, 200)), "boat")


@pytest.fixture(scope="module")
def label_studio_below(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LabelStudio]:
    """A Label Studio of its own at http://.../label-studio."""
    with running_label_studio_below(
        _PREFIX,
        folder=tmp_path_factory.mktemp("sub-path") / "data",
        log_path=ARTIFACTS_DIR / "label-studio-sub-path.log",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def api_below(label_studio_below: LabelStudio) -> Iterator[LabelStudioApi]:
    """Its API."""
    token = label_studio_below.legacy_token
    with api_with_legacy_token(label_studio_below.url, token) as client:
        yield client


@pytest.fixture
def project_id(
    label_studio_below: LabelStudio,
    api_below: LabelStudioApi,
    object_store: ObjectStore,
    tmp_path: Path,
) -> int:
    """A project with the same picture as upload, as local file and in a bucket."""
    project_id = api_below.create_project("Below a path", _BOATS.label_config)
    api_below.import_file(project_id, "boat.png", _PICTURE.content)
    folder = label_studio_below.local_files_dir / "Boote am Kai"
    folder.mkdir(exist_ok=True)
    (folder / "schönste.png").write_bytes(_PICTURE.content)
    api_below.import_from_storage("localfiles", project_id, path=str(folder))
    prefix = f"Unter einem Pfad {tmp_path.name}"
    object_store.put(f"{prefix}/schönste.png", _PICTURE.content)
    settings = object_store.storage_settings(prefix)
    tasks = api_below.import_from_storage("s3", project_id, presign=False, **settings)

    upload, local_file, _ = (task["data"]["image"] for task in tasks)
    assert upload.startswith(f"{_PREFIX}/data/upload/")
    assert local_file.startswith(f"{label_studio_below.url}/data/local-files/?d=")
    return project_id


def test_pictures_are_read_with_the_address_from_the_environment(
    label_studio_below: LabelStudio,
    api_below: LabelStudioApi,
    redis_server: RedisServer,
    project_id: int,
    tmp_path: Path,
) -> None:
    with running_backend(
        label_studio_url=label_studio_below.url,
        token=label_studio_below.legacy_token,
        cache_dir=tmp_path,
        redis_url=redis_server.url,
        log_path=ARTIFACTS_DIR / "backend-sub-path.log",
    ) as backend:
        _assert_boats(predict_project(api_below, backend, project_id))


def test_pictures_are_read_with_the_address_from_setup(
    api_below: LabelStudioApi,
    redis_server: RedisServer,
    project_id: int,
    tmp_path: Path,
) -> None:
    with running_backend(
        cache_dir=tmp_path,
        redis_url=redis_server.url,
        log_path=ARTIFACTS_DIR / "backend-sub-path-learned.log",
    ) as backend:
        _assert_boats(predict_project(api_below, backend, project_id))


def _assert_boats(tasks: Sequence[PredictedTask]) -> None:
    assert len(tasks) == 3
    for task in tasks:
        stored = label_mask(task.prediction, "boat", _PICTURE.size_yx)
        assert intersection_over_union(stored, _PICTURE.truth["boat"]) > _IOU_FLOOR
