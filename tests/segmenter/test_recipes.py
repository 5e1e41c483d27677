import json
import logging
from pathlib import Path
from typing import Any

import pytest

from segmenter import (
    RECIPES,
    ModelSource,
    SegmenterOptions,
    find_recipe,
    load_segmenter,
    recipe_options,
)

XL = {"_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time"}
UNET = {"_class_name": "UNet2DConditionModel"}


def folder_with(root: Path, part: str, config: dict[str, Any]) -> ModelSource:
    (root / part).mkdir()
    (root / part / "config.json").write_text(json.dumps(config))
    return ModelSource.parse(str(root))


@pytest.mark.parametrize(
    ("part", "config", "expected"),
    [
        ("unet", UNET | {"cross_attention_dim": 768}, "sd1"),
        ("unet", UNET | {"cross_attention_dim": 1024}, "sd2"),
        ("unet", XL | {"cross_attention_dim": 2048}, "sdxl"),
        ("unet", UNET | {"cross_attention_dim": 96}, "pocket"),
        ("unet", UNET | {"cross_attention_dim": [768, 768]}, "pocket"),
        ("transformer", {"_class_name": "SD3Transformer2DModel"}, "sd3"),
        ("transformer", {"_class_name": "PixArtTransformer2DModel"}, "pixart"),
        ("transformer", {"_class_name": "Another"}, "pocket"),
    ],
)
def test_a_folder_s_configurations_choose_its_recipe(
    tmp_path: Path, part: str, config: dict[str, Any], expected: str
) -> None:
    assert find_recipe(folder_with(tmp_path, part, config)) == expected


def test_a_folder_that_says_nothing_is_read_as_the_pocket_model_is(
    tmp_path: Path,
) -> None:
    assert find_recipe(ModelSource.parse(str(tmp_path))) == "pocket"
    assert find_recipe(ModelSource.parse("pocket")) == "pocket"
    assert find_recipe(ModelSource.parse("pocket-mmdit")) == "pocket-mmdit"


def test_a_hub_id_is_known_before_it_is_downloaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    usual = "stable-diffusion-v1-5/Stable-Diffusion-v1-5@abc"

    with caplog.at_level(logging.WARNING):
        assert find_recipe(ModelSource.parse(usual)) == "sd1"
        assert not caplog.records
        assert find_recipe(ModelSource.parse("some/model")) == "pocket"

    assert "some/model is not on this machine yet" in caplog.text


def test_every_recipe_makes_options_that_can_be() -> None:
    for name, recipe in RECIPES.items():
        options = recipe_options(name, "fast", {})
        assert {field: getattr(options, field) for field in recipe} == {
            field: choice.value for field, choice in recipe.items()
        }
        assert all(choice.reason for choice in recipe.values())


def test_recipes_that_are_not_measured_differ_from_the_pocket_model_s() -> None:
    found = {
        name: recipe_options(name, "fast", {}).fingerprint()
        for name in RECIPES
        if name != "sd2"
    }

    assert len(set(found.values())) == len(found)
    assert recipe_options("pocket", "fast", {}) == SegmenterOptions()


def test_what_a_person_sets_wins_over_the_recipe_and_none_sets_nothing() -> None:
    given = {"threshold": 0.5, "background_words": (), "presence": None}

    found = recipe_options("sd1", "fast", given)

    assert found.threshold == 0.5
    assert found.background_words == ()
    assert found.presence == SegmenterOptions().presence
    assert found.self_attention_products == 2


def test_paper_mode_has_no_recipe() -> None:
    for name in RECIPES:
        assert recipe_options(name, "paper", {}) == SegmenterOptions(mode="paper")


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'sd9', not one of pocket, .*sd3"):
        recipe_options("sd9", "fast", {})


def test_a_model_that_is_loaded_without_options_has_its_recipe_s(
    model_dir: Path, tmp_path: Path
) -> None:
    assert load_segmenter(str(model_dir), device="cpu").options == SegmenterOptions()
