"""The bundled model with joint attention: its files, and what it was trained for.

The floors hold on scenes that training never saw;
`python -m tests.bench.bench_pocket_models` prints the figures.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from safetensors import safe_open

from segmenter import load_segmenter
from segmenter.evaluation.counts import IouCounts, to_class_map
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.train.joint_attention import READ_BLOCK
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from segmenter.source import POCKET_DIR, POCKET_MMDIT_DIR, ModelSource
from tests.segmenter.pocket.scoring import mean_iou

MAX_TRANSFORMER_BYTES = 7_500_000
PRESENT_MIOU = 0.7
OBLONG_MIOU = 0.6

SCENES = [render_scene(TEST_SEED_START + 300 + i) for i in range(12)]
OBLONG = [render_scene(TEST_SEED_START + 400 + i, size_yx=(120, 180)) for i in range(6)]


@pytest.fixture(scope="module")
def mmdit() -> Segmenter:
    return load_segmenter("pocket-mmdit", device="cpu")


def names(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }


def test_the_folder_has_no_second_copy_of_what_the_first_model_has() -> None:
    weights = [path for path in names(POCKET_MMDIT_DIR) if "safetensors" in path]

    assert weights == ["transformer/diffusion_pytorch_model.safetensors"]
    assert names(POCKET_MMDIT_DIR) - set(weights) == {
        "MODEL_CARD.md",
        "presence.json",
        "reading.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
    }


def test_the_transformer_is_small_and_in_half_precision() -> None:
    path = POCKET_MMDIT_DIR / "transformer" / "diffusion_pytorch_model.safetensors"

    with safe_open(path, framework="pt") as file:
        dtypes = {file.get_slice(key).get_dtype() for key in list(file.keys())}

    assert path.stat().st_size <= MAX_TRANSFORMER_BYTES
    assert dtypes == {"F16"}


def test_it_loads_with_diffusers_own_classes() -> None:
    transformer = SD3Transformer2DModel.from_pretrained(
        POCKET_MMDIT_DIR / "transformer"
    )
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(
        POCKET_MMDIT_DIR / "scheduler"
    )

    assert transformer.config.joint_attention_dim == 192
    assert scheduler.config.shift == 1.0


def test_the_block_that_is_read_is_the_one_that_was_taught() -> None:
    hint = json.loads((POCKET_MMDIT_DIR / "reading.json").read_text())

    assert hint == {"block": READ_BLOCK}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("transformer", POCKET_MMDIT_DIR / "transformer"),
        ("scheduler", POCKET_MMDIT_DIR / "scheduler"),
        ("", POCKET_MMDIT_DIR),
        ("vae", POCKET_DIR / "vae"),
        ("text_encoder", POCKET_DIR / "text_encoder"),
        ("tokenizer", POCKET_DIR / "tokenizer"),
        ("text_encoder_2", POCKET_DIR / "image_text"),
        ("tokenizer_2", POCKET_DIR / "image_text"),
        ("image_text", POCKET_DIR / "image_text"),
        ("captioner", POCKET_DIR / "captioner"),
    ],
)
def test_parts_are_found_where_they_are(part: str, expected: Path) -> None:
    source, folder = ModelSource.parse("pocket-mmdit").find_part(part)

    assert Path(source.location) / folder == expected
    assert expected.is_dir()


def test_objects_are_told_apart(mmdit: Segmenter) -> None:
    assert mean_iou(mmdit, SCENES) >= PRESENT_MIOU


def test_scenes_that_are_not_square_are_read(mmdit: Segmenter) -> None:
    assert mean_iou(mmdit, OBLONG) >= OBLONG_MIOU


def test_absent_words_take_little_without_any_filter(mmdit: Segmenter) -> None:
    options = replace(mmdit.options, presence="off")
    counts = IouCounts(1 + len(WORDS))

    for scene in SCENES:
        absent = [word for word in WORDS if word not in scene.words][:5]
        (cut,) = mmdit.segment(
            [scene.image], [[*scene.words, *absent]], options=options
        )
        counts.add(scene.class_map, to_class_map(cut, WORDS))

    assert counts.mean() >= PRESENT_MIOU - 0.1


def test_two_runs_give_identical_maps(mmdit: Segmenter) -> None:
    scene = SCENES[0]
    (first,) = mmdit.score([scene.image], [scene.words])

    (second,) = load_segmenter("pocket-mmdit", device="cpu").score(
        [scene.image], [scene.words]
    )

    np.testing.assert_array_equal(first.maps, second.maps)
