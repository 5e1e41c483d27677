"""The program that made the pocket model still makes one, if a bad one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

from segmenter import SegmenterOptions, load_segmenter
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.train.data import SceneSet
from segmenter.pocket.train.patches import PatchLoss
from segmenter.pocket.train.presence import fit
from segmenter.pocket.words import WORDS
from segmenter.presence.calibration import load_calibration
from segmenter.source import ModelSource


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two steps of every stage leave behind, a folder beside it too."""
    out = tmp_path_factory.mktemp("all") / "trained"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "segmenter.pocket.train"),
            *("--out", out, "--scenes", "32", "--steps-scale", "0.0003"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_one_command_leaves_a_model_that_loads_like_any_other(trained: Path) -> None:
    scene = render_scene(TEST_SEED_START)
    options = SegmenterOptions(presence="paper")

    segmenter = load_segmenter(str(trained), options, device="cpu")
    (segmentation,) = segmenter.segment([scene.image], [scene.words])

    assert segmentation.labels == scene.words
    assert segmentation.label_map.shape == scene.image.shape[:2]


def test_one_command_fits_presence_to_the_models_that_it_made(trained: Path) -> None:
    found = load_calibration(ModelSource.parse(str(trained)))

    assert found.negatives == WORDS
    assert found.by_text_and_maps is not None
    assert found != load_calibration(ModelSource.parse("pocket"))


def test_fit_finds_the_weights_that_made_the_truth() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(20_000, 2))
    probability = 1 / (1 + np.exp(-(0.5 + evidence @ [2.0, -1.0])))

    weights = fit(evidence, rng.random(20_000) < probability)

    np.testing.assert_allclose(weights, [0.5, 2.0, -1.0], atol=0.1)


def test_one_command_writes_half_precision_and_no_path_of_the_machine(
    trained: Path,
) -> None:
    from safetensors.torch import load_file

    folders = (trained, trained.with_name("trained_mmdit"))
    weights = [path for one in folders for path in one.rglob("*.safetensors")]

    assert len(weights) == 6
    for path in weights:
        kinds = {tensor.dtype for tensor in load_file(path).values()}
        assert kinds <= {torch.float16, torch.int64}, path
    for path in (path for one in folders for path in one.rglob("*.json")):
        assert str(trained) not in path.read_text(), path


def test_one_command_leaves_a_transformer_in_diffusers_layout_and_no_checkpoint(
    trained: Path,
) -> None:
    beside = trained.with_name("trained_mmdit")

    transformer = SD3Transformer2DModel.from_pretrained(beside / "transformer")
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(beside / "scheduler")

    assert len(transformer.transformer_blocks) == 6
    assert scheduler.config.shift == 1.0
    assert {path.name for path in beside.iterdir()} == {
        "transformer",
        "scheduler",
        "reading.json",
    }


def test_scene_set_refuses_seeds_of_the_test_split() -> None:
    with pytest.raises(ValueError, match="reach into the test split"):
        SceneSet.render(2, first_seed=TEST_SEED_START - 1, cell_px=4)


def test_patch_loss_is_least_where_every_patch_is_named_rightly() -> None:
    torch.manual_seed(0)
    scenes = SceneSet.render(3, first_seed=0, cell_px=4)
    loss = PatchLoss(scenes, width=1 + len(WORDS))
    torch.nn.init.eye_(loss._head.weight)
    torch.nn.init.zeros_(loss._head.bias)
    chosen = torch.arange(3)
    right = torch.zeros(3, 1 + 64, 1 + len(WORDS))
    right[:, 1:] = loss._shares(chosen, 8).clamp(min=1e-6).log()

    best = loss(chosen, right)
    shuffled = loss(chosen, right.flip(1))

    assert best < shuffled
