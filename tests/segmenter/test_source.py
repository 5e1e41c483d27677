import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segmenter.errors import WeightsNotFound
from segmenter.source import POCKET_DIR, POCKET_MMDIT_DIR, ModelSource

HUB_ID = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def write_model(folder: Path, weights: bytes, config: str = "{}") -> ModelSource:
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "model.safetensors").write_bytes(weights)
    (folder / "unet" / "config.json").write_text(config)
    return ModelSource.parse(str(folder))


def test_parse_reads_pocket_as_the_bundled_directory() -> None:
    source = ModelSource.parse("pocket")

    assert source == ModelSource(name="pocket", location=str(POCKET_DIR))
    assert source.is_directory


def test_parse_reads_both_bundled_models_whose_versions_differ() -> None:
    first, second = (ModelSource.parse(name) for name in ("pocket", "pocket-mmdit"))

    assert second == ModelSource(name="pocket-mmdit", location=str(POCKET_MMDIT_DIR))
    assert first.is_bundled
    assert second.is_bundled
    assert first.fingerprint() != second.fingerprint()


def test_a_directory_has_all_parts_of_its_own(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a", b"weights")

    assert not source.is_bundled
    assert source.find_part("vae") == (source, "vae")


def test_parse_names_a_directory_by_its_last_part(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()

    source = ModelSource.parse(f"{folder}/")

    assert source.name == "my model"
    assert Path(source.location) == folder
    assert source.is_directory


def test_parse_finds_a_directory_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    assert ModelSource.parse("~/model").location == str(tmp_path / "model")


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        pytest.param(HUB_ID, "main", id="no-revision"),
        pytest.param(f"{HUB_ID}@451f4fe", "451f4fe", id="pinned"),
        pytest.param(f"{HUB_ID}@", "main", id="empty-revision"),
        pytest.param(f"{HUB_ID}@refs/pr/2", "refs/pr/2", id="slashes"),
    ],
)
def test_parse_splits_a_hub_id_from_its_revision(model: str, revision: str) -> None:
    source = ModelSource.parse(model)

    assert source.name == "stable-diffusion-v1-5"
    assert source.location == HUB_ID
    assert source.revision == revision
    assert not source.is_directory


@pytest.mark.parametrize(
    "model",
    [
        "",
        "nonsense",
        "Pocket",
        "a/b/c",
        "/no/such",
        "/missing",
        "./missing",
        "../missing",
        "~/missing-model",
        "~no-such-user/model",
        "@main",
        "\0",
        "x" * 5000,
    ],
)
def test_parse_refuses_what_is_neither_directory_nor_hub_id(model: str) -> None:
    with pytest.raises(WeightsNotFound) as caught:
        ModelSource.parse(model)

    assert caught.value.model == model
    assert "'pocket'" in str(caught.value)


@given(model=st.text(max_size=20))
@example(model=".")
@example(model="~\0/x")
def test_parse_answers_or_refuses_any_text(model: str) -> None:
    try:
        source = ModelSource.parse(model)
    except WeightsNotFound:
        return

    assert source.name
    assert source.is_directory or source.location.count("/") == 1


def test_fingerprint_is_12_hex_digits_and_independent_of_the_place(
    tmp_path: Path,
) -> None:
    first = write_model(tmp_path / "a", b"weights").fingerprint()
    second = write_model(tmp_path / "b", b"weights").fingerprint()

    assert first == second
    assert len(first) == 12
    assert int(first, 16) >= 0


MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("size", "changed_at"),
    [
        pytest.param(100, 0, id="small-first"),
        pytest.param(100, 50, id="small-middle"),
        pytest.param(100, 99, id="small-last"),
        pytest.param(MEGABYTE + 7, MEGABYTE + 3, id="behind-the-first-megabyte"),
        pytest.param(3 * MEGABYTE, MEGABYTE - 1, id="end-of-the-first-megabyte"),
        pytest.param(3 * MEGABYTE, 2 * MEGABYTE, id="start-of-the-last-megabyte"),
    ],
)
def test_fingerprint_changes_with_a_weight_byte(
    tmp_path: Path, size: int, changed_at: int
) -> None:
    weights = bytearray(size)
    before = write_model(tmp_path / "a", bytes(weights)).fingerprint()

    weights[changed_at] = 1
    after = write_model(tmp_path / "b", bytes(weights)).fingerprint()

    assert after != before


def test_fingerprint_changes_with_a_config_a_size_and_a_file_name(
    tmp_path: Path,
) -> None:
    prints = {
        write_model(tmp_path / "a", b"ww").fingerprint(),
        write_model(tmp_path / "b", b"ww", config='{"a": 1}').fingerprint(),
        write_model(tmp_path / "c", b"www").fingerprint(),
    }
    extra = write_model(tmp_path / "d", b"ww")
    (tmp_path / "d" / "model_index.json").write_text("{}")
    prints.add(extra.fingerprint())

    assert len(prints) == 4


def test_fingerprint_ignores_files_that_no_loader_reads(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a", b"weights").fingerprint()
    other = write_model(tmp_path / "b", b"weights")
    (tmp_path / "b" / "README.md").write_text("Notes.")

    assert other.fingerprint() == plain


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make_link_to_nothing, id="link-to-nothing"),
        pytest.param(lambda path: path.symlink_to(path), id="link-to-itself"),
        pytest.param(Path.mkdir, id="folder"),
        pytest.param(os.mkfifo, id="pipe"),
    ],
)
@pytest.mark.parametrize("place", [".", "unet"])
def test_fingerprint_passes_over_names_that_are_no_files(
    tmp_path: Path, make: Callable[[Path], None], place: str
) -> None:
    plain = write_model(tmp_path / "a", b"weights").fingerprint()
    odd = write_model(tmp_path / "b", b"weights")
    make(tmp_path / "b" / place / "other.json")

    assert odd.fingerprint() == plain


def test_fingerprint_reads_through_links_to_files_and_folders(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a", b"weights").fingerprint()
    linked = tmp_path / "b"
    linked.mkdir()
    (linked / "unet").symlink_to(tmp_path / "a" / "unet")
    single = write_model(tmp_path / "c", b"other")
    weights = tmp_path / "c" / "unet" / "model.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "a" / "unet" / "model.safetensors")

    assert ModelSource.parse(str(linked)).fingerprint() == plain
    assert single.fingerprint() == plain


@pytest.mark.timeout(20)
def test_fingerprint_ends_in_a_folder_that_links_to_itself(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a", b"weights").fingerprint()
    looped = write_model(tmp_path / "b", b"weights")
    (tmp_path / "b" / "unet" / "again").symlink_to(tmp_path / "b")

    assert looped.fingerprint() == plain


def test_fingerprint_looks_no_deeper_than_the_parts_of_a_model(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a", b"weights").fingerprint()
    deep = write_model(tmp_path / "b", b"weights")
    write_model(tmp_path / "b" / "unet" / "checkpoints", b"weights")

    assert deep.fingerprint() == plain


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_fingerprint_names_the_file_that_may_not_be_read(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a", b"weights")
    config = tmp_path / "a" / "unet" / "config.json"
    config.unlink()
    config.symlink_to("/proc/self/mem")  # which root cannot read either

    with pytest.raises(WeightsNotFound, match=r"unet/config\.json cannot be read"):
        source.fingerprint()


def test_fingerprint_of_a_hub_id_changes_with_id_and_revision() -> None:
    prints = {
        ModelSource.parse(model).fingerprint()
        for model in (HUB_ID, f"{HUB_ID}@451f4fe", "other/stable-diffusion-v1-5")
    }

    assert len(prints) == 3


def test_importing_the_segmenter_imports_no_torch() -> None:
    program = (
        "import sys, segmenter\n"
        "segmenter.ModelSource.parse('a/b').fingerprint()\n"
        "segmenter.SegmenterOptions().fingerprint()\n"
        "heavy = {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
