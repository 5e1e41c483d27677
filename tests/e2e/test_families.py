"""Each family of models that is no U-Net, as a folder that an operator names.

Random weights of the true classes, scaled down: what they paint is noise, the way from
the folder into Label Studio's store is not.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.backend_process import running_backend
from tests.e2e.examples import CATS_AND_DOGS, render_picture
from tests.e2e.label_studio import LabelStudio
from tests.e2e.label_studio_api import LabelStudioApi
from tests.e2e.masks import decode_region
from tests.e2e.processes import ARTIFACTS_DIR, REPOSITORY, child_environment
from tests.e2e.seeding import predict_task
from tests.segmenter.tiny_transformers import (
    SD35,
    make_joint_backbone,
    make_pixart_backbone,
    save_joint,
    save_pixart,
)

pytestmark = pytest.mark.e2e

_DOCTOR_TIMEOUT_S: Final = 180
_PICTURE: Final = render_picture(CATS_AND_DOGS[0], "cat", "dog")
_CONFIG: Final = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)
_FAMILIES: Final[dict[str, tuple[str, Callable[[Path], None]]]] = {
    "tiny-sd3": ("sd3", lambda folder: save_joint(folder, make_joint_backbone())),
    "tiny-sd35": (
        "sd3",
        lambda folder: save_joint(folder, make_joint_backbone(**SD35)),
    ),
    "tiny-pixart": (
        "pixart",
        lambda folder: save_pixart(folder, make_pixart_backbone()),
    ),
}


@pytest.mark.parametrize("name", _FAMILIES)
def test_a_folder_of_the_family_is_served_and_examined(
    name: str, label_studio: LabelStudio, api: LabelStudioApi, tmp_path: Path
) -> None:
    recipe, save = _FAMILIES[name]
    folder = tmp_path / name
    save(folder)
    variables = {
        "MODEL": str(folder),
        # There is no CLIP beside it, nor a hub.
        "PRESENCE": "off",
        # Noise tells no label from another.
        "MODEL_SCORE_THRESHOLD": "0.05",
    }

    with running_backend(
        label_studio_url=label_studio.url,
        token=label_studio.legacy_token,
        cache_dir=tmp_path / "cache",
        log_path=ARTIFACTS_DIR / f"backend-{name}.log",
        environment=variables,
    ) as backend:
        task = predict_task(api, backend, _CONFIG, {"image": _PICTURE}, title=name)
    examined = subprocess.run(
        [sys.executable, "-m", "backend.cli", "doctor", "--json"],
        cwd=REPOSITORY,
        env=child_environment({**variables, "CACHE_DIR": str(tmp_path / "other")}),
        capture_output=True,
        text=True,
        timeout=_DOCTOR_TIMEOUT_S,
    )

    assert task.prediction["model_version"].startswith(f"diffsegmenter-{name}")
    regions = task.prediction["result"]
    assert regions
    assert all(decode_region(region, _PICTURE.size_yx).any() for region in regions)
    findings = {
        finding["subject"]: finding
        for finding in json.loads(examined.stdout)["findings"]
    }
    assert findings["loading"]["level"] == "ok", findings["loading"]
    assert f"read by the recipe {recipe}" in findings["weights"]["details"]
