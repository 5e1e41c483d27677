"""A known picture under another label config, by engine and pocket model."""

import json
from pathlib import Path

from backend.engine import Engine, build_engine
from backend.settings import Settings
from segmenter.pocket import render_scene
from tests.asking import ask_one
from tests.fakes import brush_config, data_uri, encoded


def engine_in(folder: Path, **variables: str) -> Engine:
    return build_engine(
        Settings.from_env({"MODEL": "pocket", "CACHE_DIR": str(folder), **variables})
    )


def config_for(*words: str) -> str:
    return brush_config("".join(f'<Label value="{word}"/>' for word in words))


def masks(engine: Engine, address: str, *words: str) -> str:
    regions = ask_one(engine.predictor, address, config_for(*words))
    assert regions
    return json.dumps([{**region, "id": ""} for region in regions])


def test_another_config_for_a_known_picture_gives_what_a_new_one_gets(
    tmp_path: Path,
) -> None:
    scene = render_scene(870_001)
    address = data_uri(encoded(scene.image))
    first, second = (*scene.words, "sofa"), (*scene.words, "train", "bird")
    # Nothing in memory: what is known comes out of the embedded cache.
    known = engine_in(tmp_path / "known", ENCODING_MEMORY_BYTES="0")
    new = engine_in(tmp_path / "new", ENCODING_CACHE_BYTES="0")

    masks(known, address, *first)
    found = masks(known, address, *second)
    expected = masks(new, address, *second)

    assert found == expected
    assert "encodings_known_total 1.0" in known.metrics.render().decode()
    assert "images_segmented_total 2.0" in known.metrics.render().decode()
    assert "encodings_known_total 0.0" in new.metrics.render().decode()
