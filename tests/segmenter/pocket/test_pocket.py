"""The bundled model itself: its files, and that it does what it was trained for.

The floors hold on scenes that training never saw; `make bench` prints the figures.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import CLIPTokenizer

from segmenter import SegmenterOptions, load_segmenter
from segmenter.pocket.scenes import TEST_SEED_START, render_scene
from segmenter.pocket.words import WORDS
from segmenter.predictor import Segmenter
from segmenter.presence import load_captioner, load_image_text
from segmenter.presence.captions import continue_texts
from segmenter.presence.scorer import embed_image, embed_texts
from segmenter.source import POCKET_DIR, ModelSource
from tests.segmenter.pocket.scoring import mean_iou

MAX_BYTES = 16 * 1024 * 1024
ONE_OBJECT_MIOU = 0.82
SEVERAL_OBJECTS_MIOU = 0.7
# Over the scenes below: how many of their objects a free caption names, and how
# often the most similar word to a picture is an object of it.
CAPTION_RECALL = 0.6
NEAREST_WORD_HITS = 0.6

ONE_OBJECT = [render_scene(TEST_SEED_START + i, n_objects=1) for i in range(10)]
SEVERAL_OBJECTS = [
    render_scene(TEST_SEED_START + 100 + i, n_objects=2 + i % 3) for i in range(9)
]


@pytest.fixture(scope="module")
def pocket() -> Segmenter:
    return load_segmenter("pocket", device="cpu")


def weight_files() -> list[Path]:
    return sorted(POCKET_DIR.rglob("*.safetensors"))


def test_the_weights_are_small_enough_for_the_repository() -> None:
    sizes = [path.stat().st_size for path in POCKET_DIR.rglob("*") if path.is_file()]

    assert len(weight_files()) == 5
    assert sum(sizes) <= MAX_BYTES


def test_the_weights_are_safetensors_and_nothing_executable() -> None:
    suffixes = {path.suffix for path in POCKET_DIR.rglob("*") if path.is_file()}

    assert suffixes <= {".safetensors", ".json", ".txt", ".md"}


def test_the_weights_are_in_half_precision() -> None:
    for path in weight_files():
        with safe_open(path, framework="pt") as file:
            dtypes = {file.get_slice(key).get_dtype() for key in list(file.keys())}
        # Position numbers are integers; no other tensor is wider than 16 bits.
        assert dtypes - {"I64"} == {"F16"}, path


def test_the_directory_is_stable_diffusion_s() -> None:
    index = json.loads((POCKET_DIR / "model_index.json").read_text())

    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert index["tokenizer"][1].startswith("CLIPTokenizer")
    assert (POCKET_DIR / "tokenizer" / "vocab.json").is_file()
    assert (POCKET_DIR / "tokenizer" / "merges.txt").is_file()


def test_every_word_is_one_token_and_any_text_some() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(POCKET_DIR / "tokenizer")

    for word in WORDS:
        assert len(tokenizer(word)["input_ids"]) == 3, word
    assert tokenizer.unk_token_id not in tokenizer("猫 🐈 zebra")["input_ids"][1:-1]


def test_it_loads_by_the_code_that_loads_any_directory(
    pocket: Segmenter, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(POCKET_DIR, tmp_path / "somewhere")
    scene = ONE_OBJECT[0]

    (copied,) = load_segmenter(str(elsewhere), device="cpu").score(
        [scene.image], [scene.words]
    )

    (bundled,) = pocket.score([scene.image], [scene.words])
    np.testing.assert_array_equal(copied.maps, bundled.maps)


def test_two_runs_give_identical_maps(pocket: Segmenter) -> None:
    scene = SEVERAL_OBJECTS[0]
    (first,) = pocket.score([scene.image], [scene.words])

    (second,) = load_segmenter("pocket", device="cpu").score(
        [scene.image], [scene.words]
    )

    np.testing.assert_array_equal(first.maps, second.maps)
    assert first.maps.dtype == np.float16


def test_one_object_is_found(pocket: Segmenter) -> None:
    assert mean_iou(pocket, ONE_OBJECT) >= ONE_OBJECT_MIOU


def test_several_objects_are_told_apart(pocket: Segmenter) -> None:
    assert mean_iou(pocket, SEVERAL_OBJECTS) >= SEVERAL_OBJECTS_MIOU


def test_a_scene_that_is_not_square_is_found(pocket: Segmenter) -> None:
    scenes = [
        render_scene(TEST_SEED_START + 200 + i, n_objects=1, size_yx=(120, 168))
        for i in range(4)
    ]

    assert mean_iou(pocket, scenes) >= ONE_OBJECT_MIOU - 0.1


def test_captions_name_most_objects() -> None:
    captioner = load_captioner(ModelSource.parse("pocket"), device=torch.device("cpu"))
    named = wanted = 0

    for scene in ONE_OBJECT + SEVERAL_OBJECTS:
        (caption,) = continue_texts(captioner, scene.image, [""])
        named += len(set(scene.words) & set(re.findall(r"\w+", caption)))
        wanted += len(scene.words)

    assert named / wanted >= CAPTION_RECALL


def test_a_caption_goes_on_with_the_other_objects() -> None:
    captioner = load_captioner(ModelSource.parse("pocket"), device=torch.device("cpu"))
    others_named = wanted = 0

    for scene in SEVERAL_OBJECTS:
        first, *others = scene.words
        (rest,) = continue_texts(captioner, scene.image, [f"a photograph of {first}"])
        others_named += len(set(others) & set(re.findall(r"\w+", rest)))
        wanted += len(others)

    assert others_named / wanted >= CAPTION_RECALL


def test_the_image_text_model_mostly_knows_what_it_sees() -> None:
    image_text = load_image_text(
        ModelSource.parse("pocket"), device=torch.device("cpu")
    )
    words = embed_texts(image_text, WORDS)
    scenes = ONE_OBJECT + SEVERAL_OBJECTS

    hits = sum(
        WORDS[int((words @ embed_image(image_text, scene.image)).argmax())]
        in scene.words
        for scene in scenes
    )

    assert hits / len(scenes) >= NEAREST_WORD_HITS


def test_the_presence_filter_leaves_absent_words_out() -> None:
    segmenter = load_segmenter(
        "pocket", SegmenterOptions(presence="paper"), device="cpu"
    )

    kept_absent = [
        (segmenter.score([scene.image], [WORDS])[0].presence >= 1).sum()
        for scene in ONE_OBJECT[:4]
    ]

    assert np.mean(kept_absent) < len(WORDS) / 2


def test_the_command_runs_offline_on_a_scene(tmp_path: Path) -> None:
    scene = SEVERAL_OBJECTS[0]
    photo, out = tmp_path / "scene.png", tmp_path / "overlay.png"
    Image.fromarray(scene.image).save(photo)

    done = subprocess.run(
        [sys.executable, "-m", "segmenter", photo, *scene.words, "--out", out],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")},
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in scene.words:
        assert sum(word in line for line in done.stdout.splitlines()) == 1
    with Image.open(out) as overlay:
        assert overlay.size == (128, 128)
