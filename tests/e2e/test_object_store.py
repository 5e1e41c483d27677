"""Pictures in an S3 bucket behind Label Studio, presigned and passed through."""

from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import Backend, running_backend
from tests.e2e.examples import PROJECTS, Example, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import intersection_over_union, label_mask
from tests.e2e.object_store import ObjectStore
from tests.e2e.processes import ARTIFACTS_DIR
from tests.e2e.seeding import predict_project
from tests.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_IOU_FLOOR: Final = 0.6
_BOATS: Final = PROJECTS[0]
_PREFIX: Final = "Häfen 2024"
_PICTURES: Final = {
    f"{_PREFIX}/Boot & Kai 1.png": render_picture(
        Example(seed=1_000_047, size_yx=(128, 112)), "boat"
    ),
    f"{_PREFIX}/größte + schönste.png": render_picture(
        Example(seed=1_000_072, size_yx=(120, 200)), "boat"
    ),
}


@pytest.fixture(scope="module")
def store(object_store: ObjectStore) -> ObjectStore:
    """A bucket with the pictures."""
    for key, picture in _PICTURES.items():
        object_store.put(key, picture.content)
    return object_store


def test_a_private_store_that_is_not_named_is_refused_and_the_log_says_what_to_name(
    api: LabelStudioApi, backend: Backend, store: ObjectStore
) -> None:
    project_id = _import_bucket(api, store, presign=True)
    logged = len(backend.log)

    api.connect_backend(project_id, backend.url)
    api.retrieve_predictions(project_id)

    assert [api.predictions(task["id"]) for task in api.tasks(project_id)] == [[], []]
    said = [line for line in backend.log[logged:].splitlines() if "IMAGE_HOSTS" in line]
    assert any(store.host in line for line in said), backend.log[logged:]


def test_presigned_pictures_of_a_store_in_image_hosts_are_read(
    api: LabelStudioApi,
    label_studio: LabelStudio,
    redis_server: RedisServer,
    store: ObjectStore,
    tmp_path: Path,
) -> None:
    project_id = _import_bucket(api, store, presign=True)

    with running_backend(
        label_studio_url=label_studio.url,
        token=label_studio.legacy_token,
        cache_dir=tmp_path,
        redis_url=redis_server.url,
        log_path=ARTIFACTS_DIR / "backend-object-store.log",
        environment={"IMAGE_HOSTS": store.host},
    ) as backend:
        _assert_boats(api, backend, project_id)


def test_pictures_that_label_studio_passes_through_need_no_further_host(
    api: LabelStudioApi, backend: Backend, store: ObjectStore
) -> None:
    project_id = _import_bucket(api, store, presign=False)

    _assert_boats(api, backend, project_id)


def test_pages_of_a_task_may_lie_in_the_bucket(
    api: LabelStudioApi, backend: Backend, store: ObjectStore
) -> None:
    config = _BOATS.label_config.replace('value="$image"', 'valueList="$pages"')
    project_id = api.create_project("Pages in a bucket", config)
    settings = store.storage_settings(_PREFIX)
    api.connect_storage("s3", project_id, presign=False, **settings)
    pages = [f"s3://{store.bucket}/{key}" for key in _PICTURES]
    api.import_tasks(project_id, [{"pages": pages}])

    (task,) = predict_project(api, backend, project_id)

    for index, picture in enumerate(_PICTURES.values()):
        stored = label_mask(task.prediction, "boat", picture.size_yx, item_index=index)
        iou = intersection_over_union(stored, picture.truth["boat"])
        assert iou > _IOU_FLOOR, index


def _import_bucket(api: LabelStudioApi, store: ObjectStore, *, presign: bool) -> int:
    project_id = api.create_project("S3 bucket", _BOATS.label_config)
    settings = store.storage_settings(_PREFIX)
    tasks = api.import_from_storage("s3", project_id, presign=presign, **settings)
    assert len(tasks) == len(_PICTURES)
    return project_id


def _assert_boats(api: LabelStudioApi, backend: Backend, project_id: int) -> None:
    tasks = predict_project(api, backend, project_id)

    # Label Studio lists a bucket in the order of its keys.
    for task, key in zip(tasks, sorted(_PICTURES), strict=True):
        picture = _PICTURES[key]
        stored = label_mask(task.prediction, "boat", picture.size_yx)
        iou = intersection_over_union(stored, picture.truth["boat"])
        assert iou > _IOU_FLOOR, key
