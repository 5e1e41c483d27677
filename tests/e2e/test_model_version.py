"""When Label Studio predicts a task anew: only when the answer would differ."""

from typing import Final

import pytest

from tests.e2e.backend_process import Backend
from tests.e2e.examples import CATS_AND_DOGS, render_picture
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import region_labels
from tests.e2e.seeding import predict_task

pytestmark = pytest.mark.e2e

_PICTURE: Final = render_picture(CATS_AND_DOGS[0], "cat", "dog")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            '<Label value="cat"/>',
            '<Label value="cat"/><Label value="dog"/>',
            id="label-added",
        ),
        pytest.param(
            '<Label value="cat"/>',
            '<Label value="cat" model_score_threshold="0.8"/>',
            id="threshold-raised",
        ),
    ],
)
def test_a_changed_label_config_makes_the_next_retrieval_store_a_new_version(
    api: LabelStudioApi, backend: Backend, before: str, after: str
) -> None:
    task = predict_task(api, backend, _brush(before), {"image": _PICTURE})

    api.set_label_config(task.project_id, _brush(after))
    api.retrieve_predictions(task.project_id)

    versions = [p["model_version"] for p in api.predictions(task.id)]
    assert len(set(versions)) == len(versions) == 2, backend.log[-2000:]
    assert task.prediction["model_version"] in versions


def test_a_config_that_only_looks_different_keeps_the_prediction(
    api: LabelStudioApi, backend: Backend
) -> None:
    config = _brush('<Label value="cat"/>')
    task = predict_task(api, backend, config, {"image": _PICTURE})
    heading = '<Header value="Find the cat"/><Image'

    api.set_label_config(task.project_id, config.replace("<Image", heading))
    api.retrieve_predictions(task.project_id)

    assert api.predictions(task.id) == [task.prediction]


def test_the_new_prediction_answers_the_new_config(
    api: LabelStudioApi, backend: Backend
) -> None:
    task = predict_task(
        api, backend, _brush('<Label value="cat"/>'), {"image": _PICTURE}
    )

    api.set_label_config(task.project_id, _brush('<Label value="cat" alias="k"/>'))
    api.retrieve_predictions(task.project_id)

    (new,) = (p for p in api.predictions(task.id) if p["id"] != task.prediction["id"])
    assert {region_labels(region) for region in new["result"]} == {("k",)}


def _brush(labels: str) -> str:
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="tag" toName="image">{labels}</BrushLabels></View>'
    )
