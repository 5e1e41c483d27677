"""Each room of the segmenter has one door, and nobody climbs in through a window.

Which room may see which is held by import-linter (pyproject.toml).
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import segmenter

ROOT = Path(segmenter.__file__).parent

DOORS = {
    "segmenter": [
        "BUNDLED_MODELS",
        "IMAGE_FORMATS",
        "MAX_IMAGE_PIXELS",
        "MODES",
        "RECIPES",
        "BadClick",
        "BadImage",
        "BadLabel",
        "Box",
        "Click",
        "Devices",
        "Example",
        "Heads",
        "LabelHead",
        "LabelMask",
        "Mode",
        "ModelSource",
        "ModelTerms",
        "Picture",
        "PictureError",
        "PictureFormatRefused",
        "PictureTooLarge",
        "PictureUnreadable",
        "ScoreMaps",
        "Segmentation",
        "SegmenterError",
        "SegmenterOptions",
        "UnsupportedModel",
        "UnusableDevice",
        "UnusablePrecision",
        "WebPageInstead",
        "WeightsLocation",
        "WeightsNotFound",
        "apply_heads",
        "blank_labels",
        "cut_masks",
        "decode_image",
        "estimate_ious",
        "find_devices",
        "find_recipe",
        "find_terms",
        "find_weights",
        "fit_heads",
        "iter_masks",
        "load_segmenter",
        "make_example",
        "merge_prompts",
        "recipe_options",
        "refine_mask",
    ],
    "segmenter.backbones": [
        "FAMILIES",
        "AttentionCall",
        "AttentionReader",
        "Backbone",
        "Family",
        "Geometry",
        "Level",
        "PromptTokens",
        "Sample",
        "SampleReading",
        "VocabularyTokens",
        "attention_probabilities",
        "capture",
        "load_backbone",
    ],
    "segmenter.clicks": ["refine_mask"],
    "segmenter.evaluation": ["evaluate_folder"],
    "segmenter.heads": [
        "Example",
        "Heads",
        "LabelHead",
        "apply_heads",
        "blank_labels",
        "estimate_ious",
        "fit_heads",
        "make_example",
    ],
    "segmenter.masks": [
        "Guide",
        "cut_masks",
        "find_winners",
        "iter_masks",
        "label_colour",
        "merge_prompts",
        "paint_overlay",
        "stretch",
    ],
    "segmenter.modes": [
        "FastMode",
        "FastReading",
        "Passes",
        "Request",
        "paper_maps",
        "size_yx",
        "wordless_layers",
    ],
    "segmenter.pictures": [
        "DECODER_FAULTS",
        "IMAGE_FORMATS",
        "MAX_IMAGE_PIXELS",
        "Picture",
        "decode_image",
        "keep_picture_chunks",
    ],
    "segmenter.pocket": [
        "TEST_SEED_START",
        "WORDS",
        "Scene",
        "render_scene",
        "render_twins",
    ],
    "segmenter.pocket.train": [],
    "segmenter.presence": [
        "AuxiliaryModels",
        "Calibration",
        "Captioner",
        "ImageText",
        "PresenceScorer",
        "competition_weights",
        "load_calibration",
        "load_captioner",
        "load_image_text",
        "log_odds",
    ],
    "segmenter.text": [
        "EncodedPrompts",
        "Prompt",
        "T5TextEncoder",
        "TextEncoder",
        "TextEncoders",
        "TextEncoding",
        "Vocabulary",
        "build_prompt",
        "build_vocabulary",
        "check_label",
        "embed_prompts",
        "encode_prompts",
        "tokenize",
    ],
    "segmenter.weights": [
        "DTYPES",
        "first_line",
        "is_device_error",
        "load_part",
        "load_tokenizer",
        "load_weights",
        "pick_device",
        "pick_dtype",
        "prepare",
        "read_config",
        "try_out",
    ],
}

# What the backend may import: the light door and the commands.
FOR_THE_BACKEND = {"segmenter", "segmenter.cli", "segmenter.evaluation"}


def room_of(module: str) -> str:
    """The innermost room that a module lies in; of a top-level file, itself."""
    parts = module.split(".")
    for end in range(len(parts), 1, -1):
        name = ".".join(parts[:end])
        if name in DOORS:
            return name
    return module


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str) -> Iterator[str]:
    """Modules of the segmenter that a file imports, or imports names from."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [node.module or ""]
            # `from segmenter.text import prompts` is an import of the inner file.
            names += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if is_module(f"{node.module}.{alias.name}")
            ]
        yield from (name for name in names if name.split(".")[0] == "segmenter")


def is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def trespasses(module: str, source: str) -> list[str]:
    """Imports of another room's inner modules."""
    own = room_of(module)
    return [
        f"{module} imports {name}"
        for name in imported_modules(source)
        if room_of(name) not in (own, name)
    ]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_opens_on_exactly_these_names(door: str) -> None:
    module = importlib.import_module(door)

    assert module.__all__ == DOORS[door]
    assert [name for name in DOORS[door] if not hasattr(module, name)] == []


@pytest.mark.parametrize(
    "door", sorted(DOORS.keys() - {"segmenter", "segmenter.pocket.train"})
)
def test_a_door_says_what_its_room_refuses_to_know(door: str) -> None:
    text = " ".join((importlib.import_module(door).__doc__ or "").split())

    assert " in, " in text
    assert "Refuses to know " in text


def test_every_package_is_a_room_or_part_of_one() -> None:
    packages = {module_of(path) for path in ROOT.rglob("__init__.py")}

    # A family of models is a part of its room.
    assert packages - set(DOORS) == {
        "segmenter.backbones.joint",
        "segmenter.backbones.pixart",
        "segmenter.backbones.unet",
    }


def test_no_room_has_one_file() -> None:
    for door in set(DOORS) - {"segmenter"}:
        folder = ROOT.parent.joinpath(*door.split("."))
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) > 1, door


def test_rooms_are_entered_by_their_doors() -> None:
    found = [
        line
        for path in sorted(ROOT.rglob("*.py"))
        for line in trespasses(module_of(path), path.read_text("utf-8"))
    ]

    assert found == []


def test_nobody_imports_the_training_of_the_pocket_model() -> None:
    found = [
        module_of(path)
        for path in ROOT.rglob("*.py")
        if "segmenter.pocket.train"
        in map(room_of, imported_modules(path.read_text("utf-8")))
        and room_of(module_of(path)) != "segmenter.pocket.train"
    ]

    assert found == []


def test_the_backend_knows_the_light_door_and_the_commands_alone() -> None:
    files = sorted((ROOT.parent / "backend").rglob("*.py"))
    found = {
        name for path in files for name in imported_modules(path.read_text("utf-8"))
    }

    assert len(files) > 10
    assert found == FOR_THE_BACKEND


@pytest.mark.parametrize(
    "line",
    [
        "from segmenter.modes.maps import stretch",
        "from segmenter.modes import maps",
        "import segmenter.modes.maps",
        "def late():\n    from segmenter.backbones.unet import UNetBackbone",
    ],
)
def test_a_trespass_would_be_seen(line: str) -> None:
    assert trespasses("segmenter.presence.scorer", line) != []
    assert trespasses("segmenter.cli", line) != []


def test_a_room_may_use_its_own_files_and_others_doors() -> None:
    lines = (
        "from segmenter.modes.maps import stretch\nfrom segmenter.text import Prompt"
    )

    assert trespasses("segmenter.modes.fast", lines) == []
